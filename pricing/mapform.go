package pricing

import (
	"strconv"
	"strings"

	"github.com/conclave-llm/conclave/resource"
)

// plainNames are the providers whose models stand in the public map without the provider's name.
var plainNames = map[string]bool{"openai": true, "anthropic": true}

// mapNames are the names under which classes are written, and unitNames those of units: of
// several that are read, the one that most readers know.
var mapNames = map[string]string{
	"input": "input_cost_per_token", "output": "output_cost_per_token", "cache_read": "cache_read_input_token_cost",
	"cache_write": "cache_creation_input_token_cost", "cache_write_1h": "cache_creation_input_token_cost_above_1hr",
	"cache_read_audio": "cache_read_input_audio_token_cost", "cache_read_image": "cache_read_input_image_token_cost",
	"reasoning": "output_cost_per_reasoning_token", "audio_input": "input_cost_per_audio_token",
	"audio_output": "output_cost_per_audio_token", "image_input": "input_cost_per_image_token", "image_output": "output_cost_per_image_token",
}

var unitNames = map[string]string{
	"output_image": "output_cost_per_image", "input_image": "input_cost_per_image", "input_second": "input_cost_per_second",
	"output_second": "output_cost_per_second", "second": "cost_per_second", "character": "input_cost_per_character",
	"query": "input_cost_per_query", "page": "ocr_cost_per_page", "input_pixel": "input_cost_per_pixel", "output_pixel": "output_cost_per_pixel",
}

// Map gives all rows that count in the form of the public JSON map, which ReadMap reads.
func (b *Book) Map() map[string]map[string]any {
	out := make(map[string]map[string]any, b.Builtin()+b.Imported())
	for e := range b.All() {
		name, fields := e.MapRow()
		out[name] = fields
	}
	return out
}

// MapRow is the entry's name and fields in the public JSON map. Prices are exact decimals of
// dollars. What the map has no name for, as prices of GPUs, is left out.
func (e *Entry) MapRow() (name string, fields map[string]any) {
	name = e.Provider + "/" + e.Model
	if plainNames[e.Provider] && !strings.HasPrefix(e.Model, e.Provider+"/") {
		name = e.Model
	}
	fields = map[string]any{"litellm_provider": e.Provider}
	if e.Mode != "" {
		fields["mode"] = e.Mode
	}
	if e.MaxInput > 0 {
		fields["max_input_tokens"] = e.MaxInput
	}
	if e.MaxOutput > 0 {
		fields["max_output_tokens"], fields["max_tokens"] = e.MaxOutput, e.MaxOutput
	}
	if e.Dimensions > 0 {
		fields["output_vector_size"] = e.Dimensions
	}
	if e.DeprecatedOn != "" {
		fields["deprecation_date"] = e.DeprecatedOn
	}
	for _, flag := range e.Features.Flags() {
		fields[flag] = true
	}
	if p := e.Price; p != nil {
		fields[mapNames["input"]], fields[mapNames["output"]] = resource.Rate(p.Input), resource.Rate(p.Output)
		writeClasses(fields, &p.Classes, "", "")
		writeUnits(fields, p)
		for i := range p.Variants {
			writeVariant(fields, e.Provider, &p.Variants[i])
		}
	}
	return name, fields
}

func writeClasses(fields map[string]any, c *resource.Classes, above, service string) {
	for _, class := range resource.ClassNames() {
		if m := *c.Class(class); m != nil {
			fields[mapNames[class]+above+service] = resource.Rate(*m)
		}
	}
}

func writeUnits(fields map[string]any, p *resource.Price) {
	for unit, name := range unitNames {
		if r := *p.Unit(unit); r != 0 {
			fields[name] = r
		}
	}
	if p.Request != 0 {
		fields["input_cost_per_request"] = p.Request
	}
}

func writeVariant(fields map[string]any, provider string, v *resource.PriceVariant) {
	above, service := "", ""
	if v.Above > 0 {
		above = "_above_" + strconv.FormatInt(said(provider, v.Above), 10) + "_tokens"
	}
	for ending, name := range mapServices {
		if name == v.Service {
			service = ending
		}
	}
	for class, m := range map[string]*resource.Money{"input": v.Input, "output": v.Output} {
		if m != nil {
			fields[mapNames[class]+above+service] = resource.Rate(*m)
		}
	}
	writeClasses(fields, &v.Classes, above, service)
}

// said undoes threshold.
func said(provider string, tokens int64) int64 {
	if provider == "xai" {
		return tokens + 1
	}
	return tokens
}

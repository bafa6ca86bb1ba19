package pricing

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/conclave-llm/conclave/resource"
)

// mapClasses are the public map's names of prices for a token.
var mapClasses = map[string]string{ //nolint:gosec // names of fields, no secrets
	"input_cost_per_token": "input", "output_cost_per_token": "output",
	"cache_read_input_token_cost": "cache_read", "input_cost_per_token_cache_hit": "cache_read",
	"cache_creation_input_token_cost": "cache_write", "cache_creation_input_token_cost_above_1hr": "cache_write_1h",
	"cache_read_input_audio_token_cost": "cache_read_audio", "cache_read_input_image_token_cost": "cache_read_image",
	"output_cost_per_reasoning_token": "reasoning",
	"input_cost_per_audio_token":      "audio_input", "output_cost_per_audio_token": "audio_output",
	"input_cost_per_image_token": "image_input", "output_cost_per_image_token": "image_output",
}

// mapUnits are its names of prices for a unit.
var mapUnits = map[string]string{
	"output_cost_per_image": "output_image", "input_cost_per_image": "input_image",
	"input_cost_per_second": "input_second", "output_cost_per_second": "output_second", "cost_per_second": "second",
	"input_cost_per_audio_per_second": "input_second", "output_cost_per_video_per_second": "output_second",
	"input_cost_per_character": "character", "input_cost_per_query": "query", "ocr_cost_per_page": "page",
	"input_cost_per_pixel": "input_pixel", "output_cost_per_pixel": "output_pixel", "input_cost_per_request": "request",
}

// mapServices are the endings of its names for tiers of service.
var mapServices = map[string]string{
	"_batches": "batch", "_priority": "priority", "_flex": "flex", "_balanced": "balanced",
	"_ultrafast": "ultrafast", "_decisions": "decisions",
}

// aboveTokens is the part of its names for long prompts: "_above_200k_tokens".
var aboveTokens = regexp.MustCompile(`_above_(\d{1,9})(k?)_tokens$`)

// ReadMap reads the public JSON map: an object of model names, each with litellm_provider, mode,
// limits and prices in dollars a token or unit.
func ReadMap(data []byte) (*File, error) {
	var all map[string]json.RawMessage
	if err := json.Unmarshal(data, &all); err != nil {
		return nil, fmt.Errorf("read price map: %w", err)
	}
	out := newReading()
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if name == "sample_spec" || name == "fallback_generalizations" {
			continue
		}
		var fields map[string]json.RawMessage
		if err := json.Unmarshal(all[name], &fields); err != nil {
			out.file.Refused = append(out.file.Refused, Refusal{Model: name, Reason: "is not an object"})
			continue
		}
		d := &draft{model: name}
		for field, to := range map[string]*string{"litellm_provider": &d.provider, "mode": &d.mode} {
			_ = json.Unmarshal(fields[field], to) // what is no text counts as missing
		}
		if d.provider == "" {
			out.file.Refused = append(out.file.Refused, Refusal{Model: name, Reason: "has no litellm_provider"})
			continue
		}
		d.maxInput, d.maxOutput = tokenLimit(fields["max_input_tokens"]), tokenLimit(fields["max_output_tokens"])
		d.dimensions = tokenLimit(fields["output_vector_size"])
		_ = json.Unmarshal(fields["deprecation_date"], &d.deprecatedOn) // as above
		for _, flag := range featureFlags {
			if string(bytes.TrimSpace(fields[flag])) == "true" {
				d.features.with(featureFlags, flag)
			}
		}
		for _, field := range d.fields(fields) {
			if strings.Contains(field, "cost") || strings.Contains(field, "pricing") || strings.Contains(field, "multiplier") {
				out.file.Ignored[field]++
			}
		}
		if err := out.add(d); err != nil {
			return nil, fmt.Errorf("read price map: %w", err)
		}
	}
	return &out.file, nil
}

// CustomPrice reads the prices of a deployment's own parameters, with the names of the public
// map. It gives nil if there is none, and the names of the fields that it read.
func CustomPrice(fields map[string]json.RawMessage) (p *resource.Price, used []string, err error) {
	d := &draft{provider: "custom", model: "custom", mode: "chat"}
	rest := d.fields(fields)
	for name := range fields {
		if !slices.Contains(rest, name) {
			used = append(used, name)
		}
	}
	slices.Sort(used)
	e, err := d.entry()
	switch {
	case err != nil && d.bad != "":
		return nil, used, &resource.Invalid{Field: d.bad, Reason: err.Error()}
	case err != nil:
		return nil, used, err
	}
	return e.Price, used, nil
}

// fields reads all prices and gives the names of the fields that are none.
func (d *draft) fields(fields map[string]json.RawMessage) (rest []string) {
	for _, name := range slices.Sorted(maps.Keys(fields)) { // the plain name before its variants
		text := numberText(fields[name])
		above, service, base := splitField(name)
		switch {
		case name == "input_cost_per_token_cache_hit" && fields["cache_read_input_token_cost"] != nil: // its older name
		case mapClasses[base] != "":
			d.tokens(threshold(d.provider, above), service, mapClasses[base], text, 1)
		case mapUnits[name] != "":
			d.unit(mapUnits[name], text)
		case name == "search_context_cost_per_query" && fields["input_cost_per_query"] == nil:
			d.searches(fields[name])
		case name == "tiered_pricing":
			d.ranges(fields[name])
		default:
			rest = append(rest, name)
		}
		if d.err != nil && d.bad == "" {
			d.bad = name
		}
	}
	return rest
}

// splitField takes the conditions off the name of a price.
func splitField(name string) (above int64, service, base string) {
	base = name
	for ending, s := range mapServices {
		if plain, ok := strings.CutSuffix(base, ending); ok {
			base, service = plain, s
			break
		}
	}
	if m := aboveTokens.FindStringSubmatchIndex(base); m != nil {
		above, _ = strconv.ParseInt(base[m[2]:m[3]], 10, 64) // digits, by the pattern
		if m[4] < m[5] {
			above *= 1000
		}
		base = base[:m[0]]
	}
	return above, service, base
}

// searches takes the price of a search with a context of medium size, which is what counts if
// the request does not say.
func (d *draft) searches(raw json.RawMessage) {
	var sizes map[string]json.RawMessage
	if json.Unmarshal(raw, &sizes) == nil {
		d.unit("query", numberText(sizes["search_context_size_medium"]))
	}
}

// ranges reads tiered_pricing: prices by ranges of the prompt's size, the first of which is the
// plain price.
func (d *draft) ranges(raw json.RawMessage) {
	var list []map[string]json.RawMessage
	if err := json.Unmarshal(raw, &list); err != nil {
		d.fail(errors.New("tiered_pricing: is not a list of ranges"))
		return
	}
	for _, tier := range list {
		var bounds []float64
		if err := json.Unmarshal(tier["range"], &bounds); err != nil || len(bounds) != 2 || bounds[0] < 0 || bounds[0] > 1<<40 {
			d.fail(errors.New("tiered_pricing: a range is not two numbers of tokens"))
			return
		}
		for name, v := range tier {
			if class := mapClasses[name]; class != "" {
				d.tokens(int64(bounds[0]), "", class, numberText(v), 1)
			}
		}
	}
}

// numberText is the text of a number, or of a string that holds one.
func numberText(raw json.RawMessage) string {
	raw = bytes.TrimSpace(raw)
	if len(raw) > 0 && raw[0] == '"' {
		var s string
		if json.Unmarshal(raw, &s) == nil {
			return s
		}
	}
	return string(raw)
}

func tokenLimit(raw json.RawMessage) int64 {
	n, err := strconv.ParseFloat(numberText(raw), 64)
	if err != nil || n < 0 || n > 1<<40 {
		return 0
	}
	return int64(n)
}

package pricing

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// tokenColumns are the columns of prices for a million tokens: the tier of service ("tier" is
// the price above tier_above), and the class.
var tokenColumns = map[string][2]string{
	"input": {"", "input"}, "output": {"", "output"},
	"cache_read": {"", "cache_read"}, "cache_write": {"", "cache_write"}, "cache_write_1h": {"", "cache_write_1h"},
	"reasoning": {"", "reasoning"}, "audio_in": {"", "audio_input"}, "audio_out": {"", "audio_output"},
	"image_in": {"", "image_input"}, "image_out": {"", "image_output"},
	"batch_input": {"batch", "input"}, "batch_output": {"batch", "output"}, "batch_cache_read": {"batch", "cache_read"},
	"priority_input": {"priority", "input"}, "priority_output": {"priority", "output"},
	"flex_input": {"flex", "input"}, "flex_output": {"flex", "output"},
	"tier_input": {"tier", "input"}, "tier_output": {"tier", "output"},
	"tier_cache_read": {"tier", "cache_read"}, "tier_cache_write": {"tier", "cache_write"},
}

// unitColumns are the columns of prices for one unit.
var unitColumns = map[string]string{
	"per_image_out": "output_image", "per_image_in": "input_image", "per_second_in": "input_second",
	"per_second_out": "output_second", "per_character_in": "character", "per_query": "query", "per_page": "page",
	"per_pixel_in": "input_pixel", "per_pixel_out": "output_pixel",
	"per_request": "request", "per_second": "second", "per_gpu_second": "gpu_second", "gpus": "gpus",
}

// Read reads a file of prices in either form: CSV with a heading (see ReadCSV), or the public
// JSON map of model names (see ReadMap).
func Read(data []byte) (*File, error) {
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))
	if b := bytes.TrimSpace(data); len(b) > 0 && b[0] == '{' {
		return ReadMap(data)
	}
	return ReadCSV(bytes.NewReader(data))
}

// ReadCSV reads prices in CSV with a heading: provider, model, mode, max_input_tokens,
// max_output_tokens, dimensions, features, deprecated_on, tier_above, and prices in dollars. A price that is empty is unknown, 0 is
// free. Columns without a name of these are passed over.
func ReadCSV(in io.Reader) (*File, error) {
	r := csv.NewReader(in)
	heading, err := r.Read()
	if err != nil {
		return nil, fmt.Errorf("read heading of prices: %w", err)
	}
	columns := map[string]int{}
	for i, name := range heading {
		columns[strings.TrimSpace(name)] = i
	}
	for _, name := range []string{"provider", "model"} {
		if _, ok := columns[name]; !ok {
			return nil, fmt.Errorf("read heading of prices: no column %q", name)
		}
	}
	out := newReading()
	for {
		row, err := r.Read()
		if errors.Is(err, io.EOF) {
			return &out.file, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read prices: %w", err)
		}
		d := rowDraft(columns, row)
		if d.provider == "" {
			out.file.Refused = append(out.file.Refused, Refusal{Model: d.model, Reason: "has no provider"})
			continue
		}
		if err := out.add(d); err != nil {
			return nil, fmt.Errorf("read prices: %w", err)
		}
	}
}

// rowDraft reads a line of a CSV file.
func rowDraft(columns map[string]int, row []string) *draft {
	cell := func(name string) string {
		if i, ok := columns[name]; ok {
			return strings.TrimSpace(row[i])
		}
		return ""
	}
	d := &draft{provider: cell("provider"), model: cell("model"), mode: cell("mode")}
	d.deprecatedOn = cell("deprecated_on")
	for name := range strings.FieldsFuncSeq(cell("features"), func(r rune) bool { return strings.ContainsRune(" ;|,", r) }) {
		d.features.with(featureNames, name) // of others nothing is asked
	}
	above := int64(0)
	for name, to := range map[string]*int64{"max_input_tokens": &d.maxInput, "max_output_tokens": &d.maxOutput, "tier_above": &above, "dimensions": &d.dimensions} {
		if text := cell(name); text != "" {
			n, err := strconv.ParseInt(text, 10, 64)
			if err != nil || n < 0 {
				d.fail(fmt.Errorf("%s: %q is not a whole number", name, text))
			}
			*to = n
		}
	}
	for _, name := range slices.Sorted(maps.Keys(tokenColumns)) {
		to := tokenColumns[name]
		service, from := to[0], int64(0)
		if service == "tier" {
			service, from = "", threshold(d.provider, above)
		}
		if text := cell(name); text != "" && (to[0] != "tier" || above > 0) {
			d.tokens(from, service, to[1], text, 1_000_000)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(unitColumns)) {
		d.unit(unitColumns[name], cell(name))
	}
	return d
}

// threshold is the size of prompts that another price begins after. xAI means prompts of that
// size, too.
func threshold(provider string, tokens int64) int64 {
	if provider == "xai" && tokens > 1 {
		return tokens - 1
	}
	return tokens
}

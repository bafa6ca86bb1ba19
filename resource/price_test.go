package resource_test

import (
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/conclave-llm/conclave/resource"
)

func TestPrice_Validate(t *testing.T) {
	t.Parallel()
	one := new(resource.Dollar)
	for _, tt := range []struct {
		name, in, field string
	}{
		{"good", `{"input":1,"output":2,"gpu_second":0.0005,"gpus":0.25,"variants":[{"above":200000,"input":3},{"service":"batch","output":1},{"above":200000,"service":"batch"}]}`, ""},
		{"a negative class", `{"input":1,"output":2,"cache_write_1h":-1}`, "price.cache_write_1h"},
		{"a dear unit", `{"input":1,"output":2,"query":1001}`, "price.query"},
		{"too many GPUs", `{"input":1,"output":2,"gpus":10001}`, "price.gpus"},
		{"an unknown tier", `{"input":1,"output":2,"variants":[{"service":"gold"}]}`, "price.variants[0].service"},
		{"a variant for all", `{"input":1,"output":2,"variants":[{"input":5}]}`, "price.variants[0]"},
		{"two alike", `{"input":1,"output":2,"variants":[{"above":5},{"above":5}]}`, "price.variants[1]"},
		{"a negative threshold", `{"input":1,"output":2,"variants":[{"above":-5}]}`, "price.variants[0].above"},
		{"a negative variant", `{"input":1,"output":2,"variants":[{"above":5,"audio_input":-1}]}`, "price.variants[0].audio_input"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var p resource.Price
			if err := json.Unmarshal([]byte(tt.in), &p); err != nil {
				t.Fatal(err)
			}
			err := p.Validate("price")
			in, _ := errors.AsType[*resource.Invalid](err)
			if (err != nil) != (tt.field != "") || in != nil && in.Field != tt.field {
				t.Errorf("got %v, want %q", err, tt.field)
			}
		})
	}
	for _, p := range []resource.Price{
		{Input: 1},
		{Request: 1},
		{Classes: resource.Classes{ImageOutput: one}},
		{Units: resource.Units{Page: 1}},
		{Variants: []resource.PriceVariant{{Above: 1, Output: one}}},
		{Variants: []resource.PriceVariant{{Above: 1, Classes: resource.Classes{Reasoning: one}}}},
	} {
		if p.IsFree() {
			t.Errorf("%+v is free", p)
		}
	}
	if p := (resource.Price{Variants: []resource.PriceVariant{{Above: 1, Output: new(resource.Money)}}}); !p.IsFree() {
		t.Errorf("%+v is not free", p)
	}
}

func TestRate(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"0.00001875": "0.00001875", "2.0345052083e-9": "", "1.875e-08": "0.00000001875", "0": "0", "0.5": "0.5", "9001": "", "-0.25": "-0.25", "x": "", "1/2": "", "1e99": "",
	} {
		r, err := resource.ParseRate(text)
		if (err == nil) != (want != "") || err == nil && r.String() != want {
			t.Errorf("%s: got %s, %v", text, r, err)
		}
	}
	var u resource.Units
	if err := json.Unmarshal([]byte(`{"second":0.000277777777778,"page":null}`), &u); err != nil || u.Second != 277_777_777_778 {
		t.Errorf("got %+v, %v", u, err)
	}
}

func TestSettings_Prices(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ id, value, field string }{
		{"price_adjustments", `{"openai":{"discount":0.05,"margin":0.1,"fixed":0.001},"*":{"margin":1.5}}`, ""},
		{"price_adjustments", `{"openai":{"discount":1.01}}`, "value.openai.discount"},
		{"price_adjustments", `{"openai":{"margin":-0.1}}`, "value.openai.margin"},
		{"price_adjustments", `{"openai":{"fixed":1001}}`, "value.openai.fixed"},
		{"price_adjustments", `{"openai":{"discount":0.0000001}}`, "value.openai.discount"},
		{"price_adjustments", `[]`, "value"},
		{"price_sync", `{"url":"https://x/p.json","every":"24h","apply":"auto"}`, ""},
		{"price_sync", `{}`, ""},
		{"price_sync", `{"url":"file:///etc/passwd"}`, "value.url"},
		{"price_sync", `{"url":"https://user:pass@x/p.json"}`, "value.url"},
		{"price_sync", `{"url":"https://x","every":"1s"}`, "value.every"},
		{"price_sync", `{"url":"https://x","apply":"never"}`, "value.apply"},
		{"unknown_price", `{"input":1,"output":-2}`, "value.output"},
		{"unknown_price", `{"input":1,"output":2}`, ""},
	} {
		t.Run(tt.id+tt.value, func(t *testing.T) {
			t.Parallel()
			var s resource.Settings
			err := s.Set(tt.id, json.RawMessage(tt.value))
			in, _ := errors.AsType[*resource.Invalid](err)
			if (err != nil) != (tt.field != "") || in != nil && in.Field != tt.field {
				t.Errorf("got %v, want %q", err, tt.field)
			}
		})
	}
	s := resource.DefaultSettings()
	if err := s.Set("price_sync", json.RawMessage(`{"url":"https://x/p.json","every":"24h"}`)); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(resource.PriceSync{URL: "https://x/p.json", Every: 24 * time.Hour, Apply: resource.ApplyReview}, s.PriceSync); d != "" {
		t.Error(d)
	}
}

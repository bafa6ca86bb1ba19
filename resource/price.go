package resource

import (
	"cmp"
	"fmt"
	"math/big"
	"slices"
	"strings"
)

// Price is US dollars per million tokens of each disjoint class of usage, and dollars per unit
// of what is not counted in tokens. A nil class costs what its nearest class costs (see Classes).
// A price of 0 in everything is "free"; no price at all is "unknown".
type Price struct {
	Input  Money `json:"input"`
	Output Money `json:"output"`
	Classes
	Request Money `json:"request,omitempty"` // dollars a request, whatever it uses
	Units
	// Variants replace classes for long prompts and for tiers of service.
	Variants []PriceVariant `json:"variants,omitempty"`
}

// Classes are dollars per million tokens of the classes beside plain input and output. What is
// nil costs what stands behind it: there is always an end, which is input or output.
type Classes struct {
	CacheRead      *Money `json:"cache_read,omitempty"`       // → input
	CacheWrite     *Money `json:"cache_write,omitempty"`      // kept for 5 minutes → input
	CacheWrite1h   *Money `json:"cache_write_1h,omitempty"`   // kept for an hour → cache_write
	CacheReadAudio *Money `json:"cache_read_audio,omitempty"` // → cache_read
	CacheReadImage *Money `json:"cache_read_image,omitempty"` // → cache_read
	AudioInput     *Money `json:"audio_input,omitempty"`      // → input
	ImageInput     *Money `json:"image_input,omitempty"`      // → input
	Reasoning      *Money `json:"reasoning,omitempty"`        // → output
	AudioOutput    *Money `json:"audio_output,omitempty"`     // → output
	ImageOutput    *Money `json:"image_output,omitempty"`     // → output
}

// Units are dollars for one unit of what is not counted in tokens. 0 is not charged.
type Units struct {
	Second       Rate  `json:"second,omitempty"`        // of serving the request, from dialing to the last byte
	GPUSecond    Rate  `json:"gpu_second,omitempty"`    // the same for each of GPUs
	GPUs         Money `json:"gpus,omitempty"`          // that a request occupies, a decimal such as 0.25; 0 counts as 1
	InputSecond  Rate  `json:"input_second,omitempty"`  // of audio or video that is sent
	OutputSecond Rate  `json:"output_second,omitempty"` // of audio or video that is made
	Character    Rate  `json:"character,omitempty"`     // of text that is spoken
	Query        Rate  `json:"query,omitempty"`         // of a search or a reranking
	Page         Rate  `json:"page,omitempty"`          // of a document that is read
	InputImage   Rate  `json:"input_image,omitempty"`
	OutputImage  Rate  `json:"output_image,omitempty"`
	InputPixel   Rate  `json:"input_pixel,omitempty"`
	OutputPixel  Rate  `json:"output_pixel,omitempty"`
}

// PriceVariant is what some classes cost instead under a condition. For each class the variant
// with the largest Above that the prompt exceeds counts; of those the one of the tier of
// service, then the one of none, then the tier's without Above, then the price itself.
type PriceVariant struct {
	Above   int64  `json:"above,omitempty"`   // prompts of more tokens than this; 0: all
	Service string `json:"service,omitempty"` // one of Services; "": all
	Input   *Money `json:"input,omitempty"`
	Output  *Money `json:"output,omitempty"`
	Classes
}

// ServiceBatch is the tier of batch jobs. What a price does not name for it costs half.
const ServiceBatch = "batch"

// Services are the tiers of service that may have prices of their own.
var Services = []string{ServiceBatch, "flex", "priority", "balanced", "ultrafast", "decisions"}

// maxVariants bounds the variants of a price: each tier of service at a few sizes of prompts.
const maxVariants = 64

// maxPerMillion bounds a price of tokens, maxRate one of a unit.
const (
	maxPerMillion = 1_000_000 * Dollar
	maxRate       = Rate(1000 * int64(1e15))
)

// GPUCount is how many GPUs a request occupies, in nanos: 1e9 is one.
func (u *Units) GPUCount() int64 {
	if u.GPUs <= 0 {
		return int64(Dollar)
	}
	return int64(u.GPUs)
}

// Timed says that the price depends on how long a request takes to serve.
func (u *Units) Timed() bool { return u.Second > 0 || u.GPUSecond > 0 }

// HasService says that the price names a tier of service.
func (p *Price) HasService(name string) bool {
	return slices.ContainsFunc(p.Variants, func(v PriceVariant) bool { return v.Service == name })
}

// IsFree says that nothing served at the price costs anything.
func (p *Price) IsFree() bool {
	free := p.Input == 0 && p.Output == 0 && p.Request == 0 && p.free()
	for _, f := range p.Units.fields() {
		free = free && *f.rate == 0
	}
	for i := range p.Variants {
		v := &p.Variants[i]
		free = free && (v.Input == nil || *v.Input == 0) && (v.Output == nil || *v.Output == 0) && v.free()
	}
	return free
}

func (c *Classes) free() bool {
	return !slices.ContainsFunc(c.fields(), func(f classField) bool { return *f.money != nil && **f.money != 0 })
}

type classField struct {
	name  string
	money **Money
}

func (c *Classes) fields() []classField {
	return []classField{
		{"cache_read", &c.CacheRead},
		{"cache_write", &c.CacheWrite},
		{"cache_write_1h", &c.CacheWrite1h},
		{"cache_read_audio", &c.CacheReadAudio},
		{"cache_read_image", &c.CacheReadImage},
		{"audio_input", &c.AudioInput},
		{"image_input", &c.ImageInput},
		{"reasoning", &c.Reasoning},
		{"audio_output", &c.AudioOutput},
		{"image_output", &c.ImageOutput},
	}
}

type unitField struct {
	name string
	rate *Rate
}

func (u *Units) fields() []unitField {
	return []unitField{
		{"second", &u.Second},
		{"gpu_second", &u.GPUSecond},
		{"input_second", &u.InputSecond},
		{"output_second", &u.OutputSecond},
		{"character", &u.Character},
		{"query", &u.Query},
		{"page", &u.Page},
		{"input_image", &u.InputImage},
		{"output_image", &u.OutputImage},
		{"input_pixel", &u.InputPixel},
		{"output_pixel", &u.OutputPixel},
	}
}

// Class returns the place of a class of tokens, nil for a name that is none. Input and output
// are not among them.
func (c *Classes) Class(name string) **Money {
	for _, f := range c.fields() {
		if f.name == name {
			return f.money
		}
	}
	return nil
}

// Unit returns the place of a unit's price, nil for a name that is none.
func (u *Units) Unit(name string) *Rate {
	for _, f := range u.fields() {
		if f.name == name {
			return f.rate
		}
	}
	return nil
}

// ClassNames lists what Class knows, in order.
func ClassNames() []string {
	var c Classes
	var names []string
	for _, f := range c.fields() {
		names = append(names, f.name)
	}
	return names
}

// UnitNames lists what Unit knows, in order.
func UnitNames() []string {
	var u Units
	var names []string
	for _, f := range u.fields() {
		names = append(names, f.name)
	}
	return names
}

// Validate returns an *Invalid for an amount that is no price; field is what stands in front
// of the names of its fields.
func (p *Price) Validate(field string) error {
	err := cmp.Or(
		validPrice(field+".input", &p.Input), validPrice(field+".output", &p.Output), validPrice(field+".request", &p.Request),
		p.validate(field),
	)
	if err != nil {
		return err
	}
	for _, f := range p.Units.fields() {
		if *f.rate < 0 || *f.rate > maxRate {
			return invalidf(field+"."+f.name, "%s is not between 0 and 1000", *f.rate)
		}
	}
	if p.GPUs < 0 || p.GPUs > 10_000*Dollar {
		return invalidf(field+".gpus", "%s is not between 0 and 10000", p.GPUs)
	}
	return p.validateVariants(field)
}

func (p *Price) validateVariants(field string) error {
	if len(p.Variants) > maxVariants {
		return invalidf(field+".variants", "%d are more than %d", len(p.Variants), maxVariants)
	}
	type condition struct {
		above   int64
		service string
	}
	seen := make(map[condition]bool, len(p.Variants))
	for i := range p.Variants {
		v, at := &p.Variants[i], fmt.Sprintf("%s.variants[%d]", field, i)
		if v.Above < 0 || v.Above > 1<<40 {
			return invalidf(at+".above", "%d is not a number of tokens", v.Above)
		}
		if v.Service != "" && !slices.Contains(Services, v.Service) {
			return invalidf(at+".service", "%q is not one of %s", v.Service, strings.Join(Services, ", "))
		}
		c := condition{v.Above, v.Service}
		if c == (condition{}) {
			return invalidf(at, "has neither above nor service")
		}
		if seen[c] {
			return invalidf(at, "another variant has the same above and service")
		}
		seen[c] = true
		err := cmp.Or(validPrice(at+".input", v.Input), validPrice(at+".output", v.Output), v.validate(at))
		if err != nil {
			return err
		}
	}
	return nil
}

func (c *Classes) validate(field string) error {
	for _, f := range c.fields() {
		if err := validPrice(field+"."+f.name, *f.money); err != nil {
			return err
		}
	}
	return nil
}

func validPrice(field string, m *Money) error {
	if m != nil && (*m < 0 || *m > maxPerMillion) {
		return invalidf(field, "%s is not between 0 and 1000000", *m)
	}
	return nil
}

// Rate is US dollars for one unit, in 1e-15 $, which is nanodollars for a million units. It is a
// number in CBOR, and in JSON an exact decimal number of dollars.
type Rate int64

const ratePerDollar = 1_000_000_000_000_000

// ParseRate reads a decimal number of dollars, with an optional exponent, exactly. It returns
// an error for more than fifteen decimals, or beyond 9000 dollars.
func ParseRate(s string) (Rate, error) {
	r, err := parseDecimal(s)
	if err != nil {
		return 0, err
	}
	r.Mul(r, big.NewRat(ratePerDollar, 1))
	if !r.IsInt() {
		return 0, fmt.Errorf("price %q has more than fifteen decimals", s)
	}
	if !r.Num().IsInt64() || r.Num().Int64() > 9000*ratePerDollar || r.Num().Int64() < -9000*ratePerDollar {
		return 0, fmt.Errorf("price %q is beyond 9000 dollars", s)
	}
	return Rate(r.Num().Int64()), nil
}

// String gives the rate in dollars without trailing zeros: "0.00001875".
func (r Rate) String() string {
	s := strings.TrimRight(big.NewRat(int64(r), ratePerDollar).FloatString(15), "0")
	return strings.TrimSuffix(s, ".")
}

// MarshalJSON writes a decimal number of dollars.
func (r Rate) MarshalJSON() ([]byte, error) { return []byte(r.String()), nil }

// UnmarshalJSON reads a decimal number of dollars, exactly, or null.
func (r *Rate) UnmarshalJSON(b []byte) error {
	if string(b) == "null" {
		*r = 0
		return nil
	}
	v, err := ParseRate(string(b))
	if err != nil {
		return err
	}
	*r = v
	return nil
}

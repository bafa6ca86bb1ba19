package pricing

import (
	"cmp"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strconv"
	"strings"

	"github.com/conclave-llm/conclave/resource"
)

// File is what was read of a file of prices.
type File struct {
	Entries []*Entry // one for each name, in the order of the file
	Refused []Refusal
	// Ignored counts the prices of kinds that have no place in a resource.Price, by their name.
	Ignored map[string]int
	// Doubles are rows left out because another row has the same provider and model.
	Doubles []string
}

// Refusal is a row that was not taken, and why.
type Refusal struct {
	Provider string `json:"provider"`
	Model    string `json:"model"`
	Reason   string `json:"reason"`
}

// families are the names that lists of prices give to parts of a provider.
var families = map[string]string{
	"bedrock_converse": "bedrock", "cohere_chat": "cohere", "text-completion-openai": "openai",
	"fireworks_ai-embedding-models": "fireworks_ai", "azure_text": "azure",
	"text-completion-codestral": "codestral", "text-completion-inception": "inception",
}

// family is the provider's name in package provider.
func family(name string) string {
	if f, ok := families[name]; ok {
		return f
	}
	if strings.HasPrefix(name, "vertex_ai-") {
		return "vertex_ai"
	}
	return name
}

// draft is a row while it is read.
type draft struct {
	provider, model, mode string // as the file has them
	maxInput, maxOutput   int64
	dimensions            int64
	features              Features
	deprecatedOn          string
	price                 resource.Price
	priced                bool
	err                   error  // the first number that is no price
	bad                   string // the name of its field
}

var errPrice = errors.New("is not a price")

// tokens sets a price of tokens, in dollars for scale tokens.
func (d *draft) tokens(above int64, service, class, text string, scale int64) {
	r := d.number(class, text)
	if r == nil {
		return
	}
	r.Mul(r, big.NewRat(1_000_000*int64(resource.Dollar), scale))
	d.set(above, service, class, text, r)
}

// unit sets a price of a unit, in dollars.
func (d *draft) unit(name, text string) {
	r := d.number(name, text)
	if r == nil {
		return
	}
	if name == "request" || name == "gpus" {
		r.Mul(r, big.NewRat(int64(resource.Dollar), 1))
	} else {
		r.Mul(r, big.NewRat(1_000_000*int64(resource.Dollar), 1))
	}
	d.set(0, "", name, text, r)
}

// number reads a number of dollars; nil if it is none, or missing.
func (d *draft) number(name, text string) *big.Rat {
	text = strings.TrimSpace(text)
	if text == "" || text == "null" {
		return nil
	}
	r, ok := new(big.Rat), len(text) <= 40 && !strings.ContainsAny(text, "/_xXpP")
	if ok {
		ok = plainExponent(text)
	}
	if ok {
		_, ok = r.SetString(text)
	}
	switch {
	case !ok:
		d.fail(fmt.Errorf("%s: %q %w", name, text, errPrice))
		return nil
	case r.Sign() < 0:
		d.fail(fmt.Errorf("%s: %q is negative", name, text))
		return nil
	}
	return r
}

// plainExponent says that an exponent is small enough to work the number out.
func plainExponent(text string) bool {
	i := strings.IndexAny(text, "eE")
	if i < 0 {
		return true
	}
	exponent, err := strconv.Atoi(strings.TrimLeft(text[i+1:], "+-"))
	return err == nil && exponent <= 40
}

func (d *draft) set(above int64, service, name, text string, r *big.Rat) {
	r.Add(r, big.NewRat(1, 2)) // to the nearest
	n := new(big.Int).Quo(r.Num(), r.Denom())
	if !n.IsInt64() || !setPrice(&d.price, above, service, name, n.Int64()) {
		d.fail(fmt.Errorf("%s: %q %w", name, text, errPrice))
		return
	}
	d.priced = true
}

func (d *draft) fail(err error) {
	if d.err == nil {
		d.err = err
	}
}

// entry finishes the row.
func (d *draft) entry() (*Entry, error) {
	provider, model := family(d.provider), strings.TrimPrefix(d.model, d.provider+"/")
	if provider != d.provider {
		model = strings.TrimPrefix(model, provider+"/")
	}
	e := &Entry{
		Provider: provider, Model: strings.ToLower(model), Mode: d.mode, MaxInput: max(d.maxInput, 0), MaxOutput: max(d.maxOutput, 0),
		Dimensions: max(d.dimensions, 0), Features: d.features,
	}
	if isDay(d.deprecatedOn) {
		e.DeprecatedOn = d.deprecatedOn
	}
	if e.Provider == "" || e.Model == "" {
		return e, errors.New("has no provider or no model")
	}
	if strings.ContainsAny(e.Provider+e.Model+e.Mode, "\t\n\r") || len(e.Provider) > maxName || len(e.Model) > maxName || len(e.Mode) > 64 {
		return e, errors.New("provider, model or mode is too long or has a control character")
	}
	if d.err != nil {
		return e, d.err
	}
	if d.priced {
		p := d.price
		settleUnits(&p, d.mode)
		dropRepeated(&p)
		slices.SortFunc(p.Variants, func(a, b resource.PriceVariant) int {
			return cmp.Or(cmp.Compare(a.Above, b.Above), strings.Compare(a.Service, b.Service))
		})
		if err := p.Validate("price"); err != nil {
			return e, err
		}
		e.Price = &p
	}
	return e, nil
}

// textModes are those of models that only write text: what they cost by the second is for the
// time that they serve.
var textModes = []string{"", "chat", "completion", "responses", "embedding"}

// settleUnits leaves one price for one thing. Lists give some prices twice, by the token and by
// the second or the image, of which only one is charged; and they call the price of what an
// image model makes a price of its input.
func settleUnits(p *resource.Price, mode string) {
	text := slices.Contains(textModes, mode)
	in, out := p.Input > 0 || positive(p.AudioInput), p.Output > 0 || positive(p.AudioOutput)
	switch {
	case text && !in && !out: // a machine that is hired, once and not for each direction
		p.Second = max(p.Second, p.InputSecond, p.OutputSecond)
		p.InputSecond, p.OutputSecond = 0, 0
	case mode == "audio_transcription": // the recording is paid for once
		p.InputSecond = max(p.InputSecond, p.OutputSecond)
		p.OutputSecond = 0
	}
	p.InputSecond = zeroIf(in || out && mode == "audio_transcription", p.InputSecond)
	p.OutputSecond = zeroIf(out, p.OutputSecond)
	p.Character = zeroIf(in, p.Character)
	settleImages(p, mode, in, out && text)
	if p.OutputImage > 0 && (text || mode == "audio_speech") { // a song
		p.Request += resource.Money((p.OutputImage + 999_999) / 1_000_000)
		p.OutputImage = 0
	}
}

// settleImages does so with images and pixels; in says that input has a price by the token,
// text that what the model writes has one.
func settleImages(p *resource.Price, mode string, in, text bool) {
	if mode == "image_generation" && p.OutputImage == 0 && p.OutputPixel == 0 {
		p.OutputImage, p.InputImage = p.InputImage, 0
		p.OutputPixel, p.InputPixel = p.InputPixel, 0
	}
	p.OutputImage = zeroIf(positive(p.ImageOutput) || text, p.OutputImage)
	p.InputImage = zeroIf(positive(p.ImageInput) || in && mode != "embedding", p.InputImage)
	p.InputPixel = zeroIf(p.InputImage > 0, p.InputPixel)
	p.OutputPixel = zeroIf(p.OutputImage > 0, p.OutputPixel)
}

// dropRepeated takes out classes that cost what their nearest class costs, so that they follow
// it in the variants, too: lists name them for the plain price alone.
func dropRepeated(p *resource.Price) {
	for _, c := range []struct {
		class   **resource.Money
		nearest resource.Money
	}{
		{&p.Reasoning, p.Output},
		{&p.AudioOutput, p.Output},
		{&p.ImageOutput, p.Output},
		{&p.AudioInput, p.Input},
		{&p.ImageInput, p.Input},
	} {
		if *c.class != nil && **c.class == c.nearest {
			*c.class = nil
		}
	}
}

func positive(m *resource.Money) bool { return m != nil && *m > 0 }

func zeroIf(is bool, r resource.Rate) resource.Rate {
	if is {
		return 0
	}
	return r
}

// reading gathers the rows of a file.
type reading struct {
	file  File
	byKey map[string]int // place in file.Entries
	own   map[string]bool
}

func newReading() *reading {
	return &reading{file: File{Ignored: map[string]int{}}, byKey: map[string]int{}, own: map[string]bool{}}
}

func (r *reading) add(d *draft) error {
	if len(r.file.Entries)+len(r.file.Refused) >= maxRows {
		return fmt.Errorf("more than %d rows", maxRows)
	}
	e, err := d.entry()
	if err != nil {
		r.file.Refused = append(r.file.Refused, Refusal{e.Provider, e.Model, err.Error()})
		return nil
	}
	own := strings.HasPrefix(d.model, d.provider+"/")
	i, double := r.byKey[e.key()]
	if !double {
		r.byKey[e.key()], r.own[e.key()] = len(r.file.Entries), own
		r.file.Entries = append(r.file.Entries, e)
		return nil
	}
	r.file.Doubles = append(r.file.Doubles, d.provider+" "+d.model)
	if old := r.file.Entries[i]; extends(e, old) || own && !r.own[e.key()] && !extends(old, e) {
		r.file.Entries[i], r.own[e.key()] = e, own
	}
	return nil
}

// extends says that a has all prices of b, and more.
func extends(a, b *Entry) bool {
	if a.Price == nil {
		return false
	}
	if b.Price == nil {
		return true
	}
	have := pricesOf(a)
	all := pricesOf(b)
	for name, v := range all {
		if w, ok := have[name]; !ok || v != w {
			return false
		}
	}
	return len(have) > len(all)
}

// pricesOf are an entry's prices by the names of the row form.
func pricesOf(e *Entry) map[string]string {
	out := map[string]string{}
	for _, col := range strings.Split(e.Row(), "\t")[5:] {
		if name, value, _ := strings.Cut(col, "="); !isFact(name) {
			out[name] = value
		}
	}
	return out
}

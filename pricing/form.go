package pricing

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/conclave-llm/conclave/resource"
)

// The bounds of a table: more rows, or more bytes unpacked, are refused.
const (
	maxRows     = 50_000
	maxUnpacked = 64 << 20
	maxName     = 512
)

// The row form is one line for each model, of fields with a tab between them:
//
//	provider  model  mode  max-input  max-output  name=value …
//
// A maximum that is not known is 0. The values features=tools,vision, dimensions=1536 and
// deprecated_on=2026-12-31 stand first. Each other value is the number that a price holds: nanodollars for
// a million tokens, 1e-15 dollars for a unit, nanodollars for a request. In front of the name of
// a variant's class stands its condition: ">200000 input=…", "batch input=…",
// ">272000 priority input=…". A line without any of these has no known price.

// Row writes an entry in the row form.
func (e *Entry) Row() string {
	cols := []string{e.Provider, e.Model, e.Mode, strconv.FormatInt(e.MaxInput, 10), strconv.FormatInt(e.MaxOutput, 10)}
	if e.Features != 0 {
		cols = append(cols, "features="+e.Features.String())
	}
	if e.Dimensions > 0 {
		cols = append(cols, fmt.Sprintf("dimensions=%d", e.Dimensions))
	}
	if e.DeprecatedOn != "" {
		cols = append(cols, "deprecated_on="+e.DeprecatedOn)
	}
	if p := e.Price; p != nil {
		cols = append(cols, fmt.Sprintf("input=%d", p.Input), fmt.Sprintf("output=%d", p.Output))
		cols = appendClasses(cols, "", &p.Classes)
		if p.Request != 0 {
			cols = append(cols, fmt.Sprintf("request=%d", p.Request))
		}
		for _, name := range resource.UnitNames() {
			if r := *p.Unit(name); r != 0 {
				cols = append(cols, fmt.Sprintf("%s=%d", name, r))
			}
		}
		if p.GPUs != 0 {
			cols = append(cols, fmt.Sprintf("gpus=%d", p.GPUs))
		}
		for i := range p.Variants {
			v := &p.Variants[i]
			prefix := condition(v.Above, v.Service)
			if v.Input != nil {
				cols = append(cols, fmt.Sprintf("%sinput=%d", prefix, *v.Input))
			}
			if v.Output != nil {
				cols = append(cols, fmt.Sprintf("%soutput=%d", prefix, *v.Output))
			}
			cols = appendClasses(cols, prefix, &v.Classes)
		}
	}
	return strings.Join(cols, "\t")
}

// condition is what stands in front of a variant's classes: ">200000 batch ".
func condition(above int64, service string) string {
	var b strings.Builder
	if above > 0 {
		fmt.Fprintf(&b, ">%d ", above)
	}
	if service != "" {
		b.WriteString(service + " ")
	}
	return b.String()
}

func appendClasses(cols []string, prefix string, c *resource.Classes) []string {
	for _, name := range resource.ClassNames() {
		if m := *c.Class(name); m != nil {
			cols = append(cols, fmt.Sprintf("%s%s=%d", prefix, name, *m))
		}
	}
	return cols
}

// parseRow reads a line of the row form.
func parseRow(line string) (*Entry, error) {
	cols := strings.Split(line, "\t")
	if len(cols) < 5 {
		return nil, fmt.Errorf("%d fields instead of 5 or more", len(cols))
	}
	e := &Entry{Provider: cols[0], Model: cols[1], Mode: cols[2]}
	if e.Provider == "" || e.Model == "" || len(e.Provider) > maxName || len(e.Model) > maxName {
		return nil, errors.New("provider or model is missing or too long")
	}
	var err error
	for i, to := range []*int64{&e.MaxInput, &e.MaxOutput} {
		if *to, err = strconv.ParseInt(cols[3+i], 10, 64); err != nil || *to < 0 {
			return nil, fmt.Errorf("field %d: %q is not a number of tokens", 4+i, cols[3+i])
		}
	}
	for _, col := range cols[5:] {
		if err := e.set(col); err != nil {
			return nil, err
		}
	}
	if e.Price == nil {
		return e, nil
	}
	if err := e.Price.Validate(e.Provider + "/" + e.Model); err != nil {
		return nil, err
	}
	return e, nil
}

// isFact says that a name in the row form is of no price.
func isFact(name string) bool {
	return name == "features" || name == "dimensions" || name == "deprecated_on"
}

// set reads one "name=value".
func (e *Entry) set(col string) (err error) {
	name, value, _ := strings.Cut(col, "=")
	switch name {
	case "features":
		e.Features, err = parseFeatures(value)
	case "dimensions":
		if e.Dimensions, err = strconv.ParseInt(value, 10, 64); err != nil || e.Dimensions <= 0 {
			err = fmt.Errorf("%q is not a number of dimensions", col)
		}
	case "deprecated_on":
		if e.DeprecatedOn = value; !isDay(value) {
			err = fmt.Errorf("%q is not a day", col)
		}
	default:
		if e.Price == nil {
			e.Price = new(resource.Price)
		}
		return e.setPrice(col)
	}
	return err
}

// isDay says that a text is a day as "2026-12-31".
func isDay(s string) bool {
	_, err := time.Parse(time.DateOnly, s)
	return err == nil
}

// setPrice reads one "name=value" of a price.
func (e *Entry) setPrice(col string) error {
	name, value, ok := strings.Cut(col, "=")
	n, err := strconv.ParseInt(value, 10, 64)
	if !ok || err != nil {
		return fmt.Errorf("%q is not name=number", col)
	}
	words := strings.Split(name, " ")
	name, words = words[len(words)-1], words[:len(words)-1]
	var above int64
	if len(words) > 0 && strings.HasPrefix(words[0], ">") {
		if above, err = strconv.ParseInt(words[0][1:], 10, 64); err != nil || above <= 0 {
			return fmt.Errorf("%q has no number of tokens", col)
		}
		words = words[1:]
	}
	service := ""
	if len(words) > 0 {
		service, words = words[0], words[1:]
	}
	if len(words) > 0 || !setPrice(e.Price, above, service, name, n) {
		return fmt.Errorf("%q is not the name of a price", col)
	}
	return nil
}

// setPrice sets one price of p by its name, and says whether there is such a name.
func setPrice(p *resource.Price, above int64, service, name string, n int64) bool {
	m := resource.Money(n)
	if above > 0 || service != "" {
		return setVariant(p, above, service, name, m)
	}
	switch name {
	case "input":
		p.Input = m
	case "output":
		p.Output = m
	case "request":
		p.Request = m
	case "gpus":
		p.GPUs = m
	default:
		if c := p.Class(name); c != nil {
			*c = &m
			return true
		}
		r := p.Unit(name)
		if r == nil {
			return false
		}
		*r = resource.Rate(n)
	}
	return true
}

func setVariant(p *resource.Price, above int64, service, name string, m resource.Money) bool {
	var to **resource.Money
	v := variant(p, above, service)
	switch name {
	case "input":
		to = &v.Input
	case "output":
		to = &v.Output
	default:
		to = v.Class(name)
	}
	if to == nil {
		return false
	}
	*to = &m
	return true
}

// variant finds the variant with the condition, or adds it.
func variant(p *resource.Price, above int64, service string) *resource.PriceVariant {
	for i := range p.Variants {
		if v := &p.Variants[i]; v.Above == above && v.Service == service {
			return v
		}
	}
	p.Variants = append(p.Variants, resource.PriceVariant{Above: above, Service: service})
	return &p.Variants[len(p.Variants)-1]
}

// Pack packs entries in the row form, sorted, with one for each name: the last.
func Pack(entries []*Entry) ([]byte, error) {
	byName := make(map[string]*Entry, len(entries))
	for _, e := range entries {
		byName[e.key()] = e
	}
	var b bytes.Buffer
	z, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
	if err != nil {
		return nil, fmt.Errorf("pack prices: %w", err)
	}
	for _, key := range slices.Sorted(maps.Keys(byName)) {
		if _, err := io.WriteString(z, byName[key].Row()+"\n"); err != nil {
			return nil, fmt.Errorf("pack prices: %w", err)
		}
	}
	if err := z.Close(); err != nil {
		return nil, fmt.Errorf("pack prices: %w", err)
	}
	return b.Bytes(), nil
}

// Unpack reads what Pack wrote. No bytes are no entries.
func Unpack(packed []byte) ([]*Entry, error) {
	if len(packed) == 0 {
		return nil, nil
	}
	lines, err := unpackLines(packed)
	if err != nil {
		return nil, err
	}
	entries := make([]*Entry, 0, len(lines))
	for i, line := range lines {
		e, err := parseRow(line)
		if err != nil {
			return nil, fmt.Errorf("read prices, line %d: %w", i+1, err)
		}
		entries = append(entries, e)
	}
	return entries, nil
}

func unpackLines(packed []byte) ([]string, error) {
	z, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, fmt.Errorf("unpack prices: %w", err)
	}
	var lines []string
	sc := bufio.NewScanner(io.LimitReader(z, maxUnpacked))
	for sc.Scan() {
		if len(lines) == maxRows {
			return nil, fmt.Errorf("unpack prices: more than %d rows", maxRows)
		}
		lines = append(lines, sc.Text())
	}
	if err := sc.Err(); err != nil {
		return nil, fmt.Errorf("unpack prices: %w", err)
	}
	return lines, nil
}

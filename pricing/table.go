package pricing

import (
	"bufio"
	"bytes"
	"compress/gzip"
	_ "embed" // for the table
	"fmt"
	"io"
	"iter"
	"strconv"
	"strings"
	"sync"

	"github.com/conclave-llm/conclave/resource"
)

// The table is made of a CSV file of list prices; without one it stays as it is.
//go:generate go run ./generate -csv=${PRICES_CSV} -out=prices.tsv.gz

//go:embed prices.tsv.gz
var packed []byte

// columns of the table, in order. Prices are nanodollars per million tokens; what is unknown is empty.
const (
	colProvider = iota
	colModel
	colMode
	colMaxInput
	colMaxOutput
	colInput
	colOutput
	colCacheRead
	colCacheWrite
	colReasoning
	colAbove
	colTierInput
	colTierOutput
	colTierCacheRead
	colTierCacheWrite
	numColumns
)

// Entry is what the table knows of a model. Entries are shared and never written to.
type Entry struct {
	Provider, Model string
	Mode            string          // "chat", "completion", "responses" or "embedding"
	MaxInput        int64           // tokens; 0: unknown
	MaxOutput       int64           // tokens; 0: unknown
	Price           *resource.Price // nil: unknown
	// Above is the size of prompts, in tokens, beyond which Tier is the price of the whole
	// request. 0: there is none.
	Above int64
	Tier  *resource.Price
}

// At is the price of a request with a prompt of so many tokens, nil if it is unknown.
func (e *Entry) At(prompt int64) *resource.Price {
	if e.Tier != nil && prompt > e.Above {
		return e.Tier
	}
	return e.Price
}

// table is read when it is first asked.
var table = sync.OnceValues(func() (map[string]*Entry, error) { return readTable(packed) })

// Lookup finds a model by the provider's name in package provider and the model's name there.
// Names with a date, "-latest" or a suffix of a fine-tuned model find the plain model.
func Lookup(provider, model string) (*Entry, bool) {
	entries, err := table()
	if err != nil {
		return nil, false // a test reads the table
	}
	for name := range variants(strings.ToLower(model)) {
		if e, ok := entries[provider+"/"+name]; ok {
			return e, true
		}
	}
	return nil, false
}

// variants yields the names under which a model may stand, the nearest first.
func variants(model string) iter.Seq[string] {
	return func(yield func(string) bool) {
		if !yield(model) {
			return
		}
		if rest, ok := strings.CutPrefix(model, "ft:"); ok { // ft:gpt-4o-2024-08-06:org::id
			plain, _, _ := strings.Cut(rest, ":")
			if !yield("ft:"+plain) || !yield("ft:"+undated(plain)) {
				return
			}
		}
		if plain, ok := strings.CutSuffix(model, "-latest"); ok && !yield(plain) {
			return
		}
		if plain, _, ok := strings.Cut(model, "@"); ok && !yield(plain) {
			return
		}
		if plain := undated(model); plain != model && !yield(plain) {
			return
		}
		yield(model + "-latest")
	}
}

// undated cuts "-2024-08-06" or "-20240806" off.
func undated(model string) string {
	const long, short = len("-2024-08-06"), len("-20240806")
	if n := len(model) - long; n > 0 && isDate(strings.ReplaceAll(model[n:], "-", "")) && strings.Count(model[n:], "-") == 3 {
		return model[:n]
	}
	if n := len(model) - short; n > 0 && model[n] == '-' && isDate(model[n+1:]) {
		return model[:n]
	}
	return model
}

func isDate(s string) bool {
	n, err := strconv.Atoi(s)
	return err == nil && len(s) == 8 && n > 20_200_000 && n < 21_000_000
}

// readTable unpacks the table.
func readTable(data []byte) (map[string]*Entry, error) {
	z, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("unpack price table: %w", err)
	}
	entries := make(map[string]*Entry, 4096)
	sc := bufio.NewScanner(io.LimitReader(z, 16<<20))
	for line := 1; sc.Scan(); line++ {
		e, err := parse(sc.Text())
		if err != nil {
			return nil, fmt.Errorf("read price table, line %d: %w", line, err)
		}
		entries[e.Provider+"/"+e.Model] = e
	}
	if err := sc.Err(); err != nil {
		return nil, fmt.Errorf("unpack price table: %w", err)
	}
	return entries, nil
}

// parse reads a line.
func parse(line string) (*Entry, error) {
	cols := strings.Split(line, "\t")
	if len(cols) != numColumns {
		return nil, fmt.Errorf("%d columns instead of %d", len(cols), numColumns)
	}
	var n [numColumns]*int64
	for i := colMaxInput; i < numColumns; i++ {
		if cols[i] == "" {
			continue
		}
		v, err := strconv.ParseInt(cols[i], 10, 64)
		if err != nil || v < 0 {
			return nil, fmt.Errorf("column %d: %q is not a number", i, cols[i])
		}
		n[i] = &v
	}
	e := &Entry{Provider: cols[colProvider], Model: cols[colModel], Mode: cols[colMode]}
	e.MaxInput, e.MaxOutput, e.Above = number(n[colMaxInput]), number(n[colMaxOutput]), number(n[colAbove])
	if n[colInput] == nil && n[colOutput] == nil {
		return e, nil
	}
	e.Price = &resource.Price{
		Input: resource.Money(number(n[colInput])), Output: resource.Money(number(n[colOutput])),
		CacheRead: money(n[colCacheRead]), CacheWrite: money(n[colCacheWrite]), Reasoning: money(n[colReasoning]),
	}
	if e.Above > 0 {
		e.Tier = tier(e.Price, n)
	}
	return e, nil
}

// tier is the price above the threshold: what the tier does not name stays.
func tier(p *resource.Price, n [numColumns]*int64) *resource.Price {
	t := *p
	if v := n[colTierInput]; v != nil {
		t.Input = resource.Money(*v)
	}
	if v := n[colTierOutput]; v != nil {
		t.Output = resource.Money(*v)
	}
	if v := n[colTierCacheRead]; v != nil {
		t.CacheRead = money(v)
	}
	if v := n[colTierCacheWrite]; v != nil {
		t.CacheWrite = money(v)
	}
	return &t
}

func number(v *int64) int64 {
	if v == nil {
		return 0
	}
	return *v
}

func money(v *int64) *resource.Money {
	if v == nil {
		return nil
	}
	m := resource.Money(*v)
	return &m
}

package pricing

import (
	_ "embed" // for the table
	"encoding/json"
	"iter"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/conclave-llm/conclave/resource"
)

// The table is made of a CSV file of list prices; without one it stays as it is.
//go:generate go run ./generate -csv=${PRICES_CSV} -out=prices.tsv.gz

//go:embed prices.tsv.gz
var packed []byte

// Entry is what a table knows of a model. Entries are shared and never written to.
type Entry struct {
	Provider, Model string
	Mode            string          // "chat", "embedding", "image_generation", …
	MaxInput        int64           // tokens; 0: unknown
	MaxOutput       int64           // tokens; 0: unknown
	Dimensions      int64           // of an embedding; 0: unknown
	Features        Features        // none: unknown
	DeprecatedOn    string          // the day on which its provider ends it, "2026-12-31"; "": unknown
	Price           *resource.Price // nil: unknown
}

func (e *Entry) key() string { return e.Provider + "/" + e.Model }

// table is read when it is first asked.
var table = sync.OnceValues(func() (map[string]*Entry, error) { return index(packed) })

// index unpacks a table by its names.
func index(packed []byte) (map[string]*Entry, error) {
	entries, err := Unpack(packed)
	if err != nil {
		return nil, err
	}
	byName := make(map[string]*Entry, len(entries))
	for _, e := range entries {
		byName[e.key()] = e
	}
	return byName, nil
}

// Book is the list prices that count: the imported ones before those that are built in. It is
// immutable.
type Book struct {
	table    *resource.PriceTable
	imported map[string]*Entry
	builtin  map[string]*Entry
	err      error
}

// NewBook reads the imported prices; nil is none.
func NewBook(t *resource.PriceTable) *Book {
	b := &Book{table: t}
	b.builtin, _ = table() // a test reads it
	if t != nil {
		b.imported, b.err = index(t.Rows)
	}
	return b
}

// Err says why the imported prices cannot be read; those that are built in count then.
func (b *Book) Err() error { return b.err }

// Lookup finds a model by the provider's name in package provider and the model's name there.
// Names with a date, "-latest" or a suffix of a fine-tuned model find the plain model.
func (b *Book) Lookup(provider, model string) (*Entry, bool) {
	for name := range variants(strings.ToLower(model)) {
		if e, _, ok := b.Row(provider, name); ok {
			return e, true
		}
	}
	return nil, false
}

// Row finds the row of exactly this name, and says whether it was imported.
func (b *Book) Row(provider, model string) (e *Entry, imported, ok bool) {
	key := provider + "/" + model
	if e, ok = b.imported[key]; ok {
		return e, true, true
	}
	e, ok = b.builtin[key]
	return e, false, ok
}

// Of is what is known of a deployment of a model with the name: the row of its upstream model, else of the base_model in
// its metadata, "provider/model"; its own price stands in the place of the listed one. False: nothing is known.
func (b *Book) Of(d *resource.Deployment, model string) (*Entry, bool) {
	if d.Upstream != "" {
		model = d.Upstream
	}
	e, ok := b.listed(d, model)
	if d.Price == nil {
		return e, ok
	}
	own := Entry{Provider: d.Provider, Model: model}
	if ok {
		own = *e
	}
	own.Price = d.Price
	return &own, true
}

// listed finds the row of a deployment.
func (b *Book) listed(d *resource.Deployment, model string) (*Entry, bool) {
	if e, ok := b.Lookup(d.Provider, model); ok || len(d.Metadata) == 0 {
		return e, ok
	}
	var info struct {
		BaseModel string `json:"base_model"`
	}
	if json.Unmarshal(d.Metadata, &info) != nil || info.BaseModel == "" {
		return nil, false
	}
	if e, ok := b.Lookup(d.Provider, strings.TrimPrefix(info.BaseModel, d.Provider+"/")); ok {
		return e, true
	}
	provider, name, _ := strings.Cut(info.BaseModel, "/")
	return b.Lookup(provider, name)
}

// InUse lists the rows, "provider/model", at which a deployment of the catalog is priced.
func (b *Book) InUse(cat *resource.Catalog) map[string]bool {
	used := map[string]bool{}
	for _, d := range cat.Tables().Deployments {
		m, ok := cat.ModelByID(d.ModelID)
		if !ok || d.Price != nil {
			continue
		}
		if e, ok := b.Of(d, m.Name); ok {
			used[e.key()] = true
		}
	}
	return used
}

// All yields every row that counts, in no order, and whether it was imported.
func (b *Book) All() iter.Seq2[*Entry, bool] {
	return func(yield func(*Entry, bool) bool) {
		for _, e := range b.imported {
			if !yield(e, true) {
				return
			}
		}
		for key, e := range b.builtin {
			if _, ok := b.imported[key]; !ok && !yield(e, false) {
				return
			}
		}
	}
}

// Models lists the models of a provider that have one of the modes, sorted.
func (b *Book) Models(provider string, modes ...string) []string {
	var names []string
	for e := range b.All() {
		if e.Provider == provider && slices.Contains(modes, e.Mode) {
			names = append(names, e.Model)
		}
	}
	slices.Sort(names)
	return names
}

// Imported is how many rows were imported, Builtin how many the program has.
func (b *Book) Imported() int { return len(b.imported) }

// Builtin is how many rows are built into the program.
func (b *Book) Builtin() int { return len(b.builtin) }

// Books keeps the book of the newest price table. The zero value is ready.
type Books struct{ now atomic.Pointer[Book] }

// Of returns the book of the table, which is read once.
func (b *Books) Of(t *resource.PriceTable) *Book {
	if cur := b.now.Load(); cur != nil && cur.table == t {
		return cur
	}
	next := NewBook(t)
	b.now.Store(next)
	return next
}

// builtinBook holds no imported prices.
var builtinBook = sync.OnceValue(func() *Book { return NewBook(nil) })

// Lookup finds a model among the prices that are built in. See Book.Lookup.
func Lookup(provider, model string) (*Entry, bool) { return builtinBook().Lookup(provider, model) }

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

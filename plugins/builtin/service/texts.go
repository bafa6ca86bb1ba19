package service

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/conclave-llm/conclave/plugins/builtin/scan"
	"github.com/conclave-llm/conclave/plugins/builtin/verdict"
	"github.com/conclave-llm/conclave/plugins/sdk"
)

// parallel bounds the requests of one check at a time.
const parallel = 8

// overlap is how many bytes pieces of a text have in common: what stands across a cut is seen whole.
const overlap = 256

// ErrIncomplete is returned for an answer that lacks what decides: it is no verdict.
var ErrIncomplete = errors.New("the service's answer lacks its verdict")

// Described is the description of a guardrail that judges whole requests and answers; a stream is held
// to its end.
func Described() sdk.GuardrailDescription {
	return sdk.GuardrailDescription{Version: scan.Version, Hooks: []sdk.Hook{sdk.Before, sdk.After}}
}

// Strings are the check's texts that the terms look at.
func Strings(t *verdict.Terms, c *sdk.Check) []string {
	var out []string
	for _, i := range t.Texts(c) {
		out = append(out, c.Texts[i].Text)
	}
	return out
}

// Message is a text and who says it.
type Message struct {
	Role    string `json:"role"`
	Content string `json:"content"`
}

// Messages are the check's texts that the terms look at, with a role that services know.
func Messages(t *verdict.Terms, c *sdk.Check) []Message {
	var out []Message
	for _, i := range t.Texts(c) {
		m := Message{Role: "user", Content: c.Texts[i].Text}
		switch c.Texts[i].Role {
		case "system", "developer":
			m.Role = "system"
		case "assistant", "model":
			m.Role = "assistant"
		}
		if c.Hook == sdk.After {
			m.Role = "assistant"
		}
		out = append(out, m)
	}
	return out
}

// Pieces puts texts together, on lines of their own, in as few pieces as can be of at most size
// characters. A text that is longer is cut, and its pieces overlap.
func Pieces(texts []string, size int) []string {
	var out []string
	var b strings.Builder
	n := 0
	flush := func() {
		if n > 0 {
			out = append(out, b.String())
			b.Reset()
			n = 0
		}
	}
	for _, t := range texts {
		for t != "" {
			chars := utf8.RuneCountInString(t)
			if n > 0 && n+1+chars > size {
				flush()
			}
			if chars <= size {
				if n > 0 {
					b.WriteByte('\n')
					n++
				}
				b.WriteString(t)
				n += chars
				break
			}
			end := bytesOf(t, size)
			out = append(out, t[:end])
			from := max(1, end-overlap)
			for from < end && !utf8.RuneStart(t[from]) {
				from++
			}
			t = t[from:]
		}
	}
	flush()
	return out
}

// bytesOf is how many bytes the first n characters of a text have.
func bytesOf(text string, n int) int {
	for i := range text {
		if n == 0 {
			return i
		}
		n--
	}
	return len(text)
}

// Each calls ask for 0 to n, some at a time, and returns the first error, which ends the others.
func Each(ctx context.Context, n int, ask func(ctx context.Context, i int) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	slots := make(chan struct{}, parallel)
	var wg sync.WaitGroup
	for i := range n {
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
		}
		if ctx.Err() != nil {
			break
		}
		wg.Go(func() {
			defer func() { <-slots }()
			if err := ask(ctx, i); err != nil {
				cancel(err)
			}
		})
	}
	wg.Wait()
	return context.Cause(ctx)
}

// Found collects findings, each category once with its highest score. It may be used concurrently.
type Found struct {
	mu  sync.Mutex // guards all
	all []sdk.Finding
}

// Add adds one.
func (f *Found) Add(category string, score float64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := range f.all {
		if f.all[i].Category == category {
			f.all[i].Score = max(f.all[i].Score, score)
			return
		}
	}
	f.all = append(f.all, sdk.Finding{Category: category, Score: score})
}

// All are the findings.
func (f *Found) All() []sdk.Finding {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.all
}

// FoundIn collects findings by the texts of a check, for actions that are about single ones. It may be used
// concurrently.
type FoundIn struct {
	mu sync.Mutex // guards by
	by map[int]*Found
}

// Text are the findings of the text at the index.
func (f *FoundIn) Text(index int) *Found {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.by[index] == nil {
		if f.by == nil {
			f.by = map[int]*Found{}
		}
		f.by[index] = new(Found)
	}
	return f.by[index]
}

// Decide is the verdict of what was found. With the action mask each text is masked in which something was.
func (f *FoundIn) Decide(t *verdict.Terms) sdk.Verdict { return f.DecideWith(t, new(Rewritten)) }

// DecideWith is the same where other texts are rewritten.
func (f *FoundIn) DecideWith(t *verdict.Terms, r *Rewritten) sdk.Verdict {
	var all Found
	for _, i := range slices.Sorted(maps.Keys(f.by)) {
		here := f.by[i].All()
		for _, x := range here {
			all.Add(x.Category, x.Score)
		}
		if len(here) > 0 && t.Action == scan.Mask {
			r.put(i, verdict.Masked)
		}
	}
	return Decide(t, &all, r)
}

// Judge asks about the texts that the terms look at, in pieces of at most size characters. Those of several texts
// are put together, unless what is found in one of them is to be masked.
func Judge(ctx context.Context, t *verdict.Terms, c *sdk.Check, size int, ask func(ctx context.Context, text string, found *Found) error) (sdk.Verdict, error) {
	type piece struct {
		index int // of its text; 0 for pieces of several
		text  string
	}
	var pieces []piece
	add := func(index int, texts ...string) {
		for _, s := range Pieces(texts, size) {
			pieces = append(pieces, piece{index, s})
		}
	}
	if t.Action == scan.Mask {
		for _, i := range t.Texts(c) {
			add(i, c.Texts[i].Text)
		}
	} else {
		add(0, Strings(t, c)...)
	}
	var found FoundIn
	err := Each(ctx, len(pieces), func(ctx context.Context, i int) error {
		return ask(ctx, pieces[i].text, found.Text(pieces[i].index))
	})
	if err != nil {
		return sdk.Verdict{}, err
	}
	return found.Decide(t), nil
}

// Rewritten collects what takes the place of texts. It may be used concurrently.
type Rewritten struct {
	mu  sync.Mutex // guards all
	all []sdk.Replacement
}

// Add says what the text at the index becomes.
func (r *Rewritten) Add(index int, text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all = append(r.all, sdk.Replacement{Index: index, Text: text})
}

// put is Add for a text that something may take the place of.
func (r *Rewritten) put(index int, text string) {
	r.all = slices.DeleteFunc(r.all, func(o sdk.Replacement) bool { return o.Index == index })
	r.Add(index, text)
}

// Decide is the verdict of what was found, which blocks or is reported, and of what is rewritten
// otherwise, or with the action mask in any case. Terms that only report rewrite nothing.
func Decide(t *verdict.Terms, found *Found, r *Rewritten) sdk.Verdict {
	if t.Action != scan.Mask && len(found.All()) > 0 || len(r.all) == 0 {
		return t.Decide(found.All())
	}
	if t.Action == scan.Flag {
		return t.Decide([]sdk.Finding{{Category: "rewritten", Count: len(r.all)}})
	}
	slices.SortFunc(r.all, func(a, b sdk.Replacement) int { return a.Index - b.Index })
	v := sdk.Rewrite(r.all...)
	v.Findings = found.All()
	return v
}

// Bytes are where the characters from start to end of a text begin and end, in bytes: services in other
// languages count characters. false says that the text has no such place.
func Bytes(text string, start, end int) (from, to int, ok bool) {
	if start < 0 || end < start {
		return 0, 0, false
	}
	from, to = -1, -1
	n := 0
	for i := range text {
		if n == start {
			from = i
		}
		if n == end {
			to = i
		}
		n++
	}
	if n == start {
		from = len(text)
	}
	if n == end {
		to = len(text)
	}
	return from, to, from >= 0 && to >= 0
}

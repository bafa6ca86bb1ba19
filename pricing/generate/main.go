// Command generate packs list prices into the table that package pricing embeds.
//
// It reads a CSV file with a heading, of which it takes the columns provider, model, mode,
// max_input_tokens, max_output_tokens, the prices in dollars per million tokens input, output,
// cache_read, cache_write and reasoning, and tier_above with tier_input, tier_output,
// tier_cache_read and tier_cache_write. An empty price is unknown, 0 is free.
package main

import (
	"bytes"
	"compress/gzip"
	"encoding/csv"
	"flag"
	"fmt"
	"io"
	"math/big"
	"os"
	"slices"
	"strings"
)

// modes are those whose price is of tokens.
var modes = []string{"chat", "completion", "responses", "embedding"}

// columns are copied as they are (numbers) or converted (prices), in the table's order.
var columns = []struct {
	name  string
	price bool
}{
	{"max_input_tokens", false},
	{"max_output_tokens", false},
	{"input", true},
	{"output", true},
	{"cache_read", true},
	{"cache_write", true},
	{"reasoning", true},
	{"tier_above", false},
	{"tier_input", true},
	{"tier_output", true},
	{"tier_cache_read", true},
	{"tier_cache_write", true},
}

// families are the names that lists of prices give to parts of a provider.
var families = map[string]string{
	"bedrock_converse": "bedrock", "cohere_chat": "cohere", "text-completion-openai": "openai",
	"fireworks_ai-embedding-models": "fireworks_ai", "azure_text": "azure",
	"text-completion-codestral": "codestral", "text-completion-inception": "inception",
}

func main() {
	in := flag.String("csv", "", "file of prices; without it nothing is done")
	out := flag.String("out", "prices.tsv.gz", "table to write")
	flag.Parse()
	if *in == "" {
		return
	}
	if err := run(*in, *out); err != nil {
		fmt.Fprintln(os.Stderr, "generate:", err)
		os.Exit(1)
	}
}

func run(in, out string) error {
	f, err := os.Open(in)
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // it was only read
	lines, err := convert(f)
	if err != nil {
		return err
	}
	var packed bytes.Buffer
	z, err := gzip.NewWriterLevel(&packed, gzip.BestCompression)
	if err != nil {
		return err
	}
	for _, l := range lines {
		if _, err := io.WriteString(z, l+"\n"); err != nil {
			return err
		}
	}
	if err := z.Close(); err != nil {
		return err
	}
	return os.WriteFile(out, packed.Bytes(), 0o644) //nolint:gosec // a source file
}

// convert makes the table's lines, sorted.
func convert(r io.Reader) ([]string, error) {
	rows, err := csv.NewReader(r).ReadAll()
	if err != nil {
		return nil, err
	}
	if len(rows) == 0 {
		return nil, fmt.Errorf("no heading")
	}
	at := make(map[string]int)
	for i, name := range rows[0] {
		at[name] = i
	}
	for _, name := range append([]string{"provider", "model", "mode"}, names()...) {
		if _, ok := at[name]; !ok {
			return nil, fmt.Errorf("no column %q", name)
		}
	}
	var lines []string
	seen := make(map[string]bool)
	for n, row := range rows[1:] {
		provider, model, mode := row[at["provider"]], row[at["model"]], row[at["mode"]]
		if provider == "" || !slices.Contains(modes, mode) {
			continue
		}
		model = strings.ToLower(strings.TrimPrefix(model, provider+"/"))
		provider = family(provider)
		model = strings.TrimPrefix(model, provider+"/")
		if seen[provider+"/"+model] {
			continue
		}
		seen[provider+"/"+model] = true
		cols := []string{provider, model, mode}
		for _, c := range columns {
			v := row[at[c.name]]
			if v != "" && c.price {
				if v, err = nano(v); err != nil {
					return nil, fmt.Errorf("row %d, %s: %w", n+2, c.name, err)
				}
			}
			cols = append(cols, v)
		}
		lines = append(lines, strings.Join(cols, "\t"))
	}
	slices.Sort(lines)
	return lines, nil
}

// names are those of the columns.
func names() []string {
	list := make([]string, len(columns))
	for i, c := range columns {
		list[i] = c.name
	}
	return list
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

// nano turns dollars into nanodollars, to the nearest.
func nano(dollars string) (string, error) {
	r, ok := new(big.Rat).SetString(dollars)
	if !ok || r.Sign() < 0 {
		return "", fmt.Errorf("%q is not a price", dollars)
	}
	r.Mul(r, big.NewRat(1_000_000_000, 1))
	r.Add(r, big.NewRat(1, 2))
	return new(big.Int).Quo(r.Num(), r.Denom()).String(), nil
}

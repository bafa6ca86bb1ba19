// Command generate packs a CSV file of list prices into the table that package pricing embeds.
package main

import (
	"flag"
	"fmt"
	"os"

	"github.com/conclave-llm/conclave/pricing"
)

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
	file, err := pricing.ReadCSV(f)
	if err != nil {
		return err
	}
	priced := 0
	for _, e := range file.Entries {
		if e.Price != nil {
			priced++
		}
	}
	fmt.Fprintf(os.Stderr, "%d rows, %d with a price; %d doubles and %d refused are left out\n",
		len(file.Entries), priced, len(file.Doubles), len(file.Refused))
	for _, r := range file.Refused {
		fmt.Fprintf(os.Stderr, "refused: %s %s %s\n", r.Provider, r.Model, r.Reason)
	}
	packed, err := pricing.Pack(file.Entries)
	if err != nil {
		return err
	}
	return os.WriteFile(out, packed, 0o644) //nolint:gosec // a source file
}

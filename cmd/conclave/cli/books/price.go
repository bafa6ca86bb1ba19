package books

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/conclave-llm/conclave/adminapi/client"
	"github.com/conclave-llm/conclave/cmd/conclave/cli/console"
	"github.com/conclave-llm/conclave/pricing"
)

func (a *app) priceCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "price", Short: "List prices: what counts, imports, downloads", Args: cobra.NoArgs}
	cmd.AddCommand(
		a.priceList(), a.priceShow(), a.priceSource(), a.priceImport(), a.priceDiff(), a.priceSync(),
		a.priceReview(), a.priceAccept(), a.priceDiscard(), a.priceReset(),
	)
	return cmd
}

func (a *app) priceList() *cobra.Command {
	var provider, cursor string
	var imported bool
	var limit int
	cmd := &cobra.Command{
		Use:   "list [TEXT]",
		Short: "List prices of models, those with TEXT in their name",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			q := url.Values{"limit": {strconv.Itoa(limit)}, "imported": {strconv.FormatBool(imported)}}
			for name, v := range map[string]string{"provider": provider, "cursor": cursor, "q": strings.Join(args, "")} {
				if v != "" {
					q.Set(name, v)
				}
			}
			page, err := a.Client().Prices(cmd.Context(), q)
			if err != nil {
				return err
			}
			return a.PrintList(page, console.LooseAll(page.Items), []console.Column{
				{"PROVIDER", "provider"},
				{"MODEL", "model"},
				{"MODE", "mode"},
				{"INPUT", "price.input"},
				{"OUTPUT", "price.output"},
				{"CACHE READ", "price.cache_read"},
				{"CACHE WRITE", "price.cache_write"},
				{"SOURCE", "source"},
			})
		},
	}
	cmd.Flags().StringVar(&provider, "provider", "", "of this provider")
	cmd.Flags().BoolVar(&imported, "imported", false, "only those that were imported")
	cmd.Flags().IntVar(&limit, "limit", 50, "rows a page")
	cmd.Flags().StringVar(&cursor, "cursor", "", "next_cursor of the page before")
	return cmd
}

func (a *app) priceShow() *cobra.Command {
	return &cobra.Command{
		Use:   "show PROVIDER/MODEL",
		Short: "Show the price at which a provider's model is billed",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			provider, model, ok := strings.Cut(args[0], "/")
			if !ok {
				return &console.ExitError{Code: 2, Err: fmt.Errorf("%q is not PROVIDER/MODEL", args[0])}
			}
			row, err := a.Client().Price(cmd.Context(), provider, model)
			if err != nil {
				return err
			}
			return a.PrintOne(row)
		},
	}
}

func (a *app) priceSource() *cobra.Command {
	return &cobra.Command{
		Use:   "source",
		Short: "Show where the prices come from, and the last download",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := a.Client().PriceSource(cmd.Context())
			if err != nil {
				return err
			}
			return a.PrintOne(s)
		},
	}
}

func (a *app) priceImport() *cobra.Command {
	var replace, accept, dryRun bool
	cmd := &cobra.Command{
		Use:   "import FILE|URL",
		Short: "Import prices in CSV or as the public JSON map; imported prices go before the built-in ones",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.sendPrices(cmd.Context(), args[0], client.PriceImport{Replace: replace, Accept: accept, DryRun: dryRun})
		},
	}
	cmd.Flags().BoolVar(&replace, "replace", false, "drop imported rows that the file does not have")
	cmd.Flags().BoolVar(&accept, "accept", false, "hold nothing for review, not even what looks wrong")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "show the difference and change nothing")
	return cmd
}

func (a *app) priceDiff() *cobra.Command {
	var replace bool
	cmd := &cobra.Command{
		Use:   "diff FILE|URL",
		Short: "Show what importing prices would change",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.sendPrices(cmd.Context(), args[0], client.PriceImport{Replace: replace, DryRun: true})
		},
	}
	cmd.Flags().BoolVar(&replace, "replace", false, "drop imported rows that the file does not have")
	return cmd
}

func (a *app) priceSync() *cobra.Command {
	return &cobra.Command{
		Use:   "sync",
		Short: "Download prices as the setting price_sync says",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			diff, err := a.Client().SyncPrices(cmd.Context())
			return a.printDiff(diff, err)
		},
	}
}

func (a *app) priceReview() *cobra.Command {
	return &cobra.Command{
		Use:   "review",
		Short: "Show the prices that wait for a person",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			diff, err := a.Client().ProposedPrices(cmd.Context())
			return a.printDiff(diff, err)
		},
	}
}

func (a *app) priceAccept() *cobra.Command {
	return &cobra.Command{
		Use:   "accept [PROVIDER/MODEL…]",
		Short: "Make prices of what waits, of all or of some",
		RunE: func(cmd *cobra.Command, args []string) error {
			diff, err := a.Client().AcceptPrices(cmd.Context(), args...)
			return a.printDiff(diff, err)
		},
	}
}

func (a *app) priceDiscard() *cobra.Command {
	return &cobra.Command{
		Use:   "discard",
		Short: "Drop the prices that wait",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.Client().DiscardPrices(cmd.Context())
		},
	}
}

func (a *app) priceReset() *cobra.Command {
	return &cobra.Command{
		Use:   "reset",
		Short: "Drop all imported prices, so that the built-in ones count",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.Client().ResetPrices(cmd.Context())
		},
	}
}

// sendPrices reads a file, or downloads it here, and sends it to the cluster.
func (a *app) sendPrices(ctx context.Context, from string, how client.PriceImport) error {
	var data []byte
	if strings.HasPrefix(from, "https://") || strings.HasPrefix(from, "http://") {
		f, err := pricing.Fetch(ctx, &http.Client{Timeout: a.Timeout}, from, "")
		if err != nil {
			return err
		}
		data, how.Source = f.Data, from
	} else {
		f, err := os.Open(from)
		if err != nil {
			return fmt.Errorf("read prices: %w", err)
		}
		defer f.Close() //nolint:errcheck // it was only read
		if data, err = io.ReadAll(io.LimitReader(f, pricing.MaxFile+1)); err != nil {
			return fmt.Errorf("read prices: %w", err)
		}
		how.Source = filepath.Base(from)
	}
	if len(data) > pricing.MaxFile {
		return fmt.Errorf("read prices: %s is larger than %d bytes", from, int64(pricing.MaxFile))
	}
	diff, err := a.Client().ImportPrices(ctx, data, how)
	return a.printDiff(diff, err)
}

// printDiff prints changes of prices, one line for each, and what they come to.
func (a *app) printDiff(diff client.PriceDiff, err error) error {
	if err != nil {
		return err
	}
	lines := console.LooseAll(diff.Changes)
	for i, c := range diff.Changes {
		parts := make([]string, 0, len(c.Prices))
		for _, p := range c.Prices {
			parts = append(parts, fmt.Sprintf("%s %s→%s", p.Name, orDash(p.Old), orDash(p.New)))
		}
		lines[i]["what"] = strings.Join(parts, ", ")
	}
	if err := a.PrintList(diff, lines, []console.Column{
		{"KIND", "kind"},
		{"PROVIDER", "provider"},
		{"MODEL", "model"},
		{"HELD BECAUSE", "held"},
		{"PRICES", "what"},
	}); err != nil {
		return err
	}
	fmt.Fprintf(a.Stderr, "%d added, %d changed, %d removed, %d unchanged, %d held for review\n",
		diff.Added, diff.Changed, diff.Removed, diff.Unchanged, diff.Held)
	return nil
}

func orDash(s string) string {
	if s == "" {
		return "–"
	}
	return s
}

package cli

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/conclave-llm/conclave/cmd/conclave/cli/console"
	"github.com/conclave-llm/conclave/config"
	"github.com/conclave-llm/conclave/resource"
)

func (a *app) blobCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "blob", Short: "Files that the cluster keeps, named by their SHA-256: list, put, get, verify, delete", Args: cobra.NoArgs}
	cmd.AddCommand(a.blobList(), a.blobPut(), a.blobGet(), a.blobVerify(), a.blobDelete())
	return cmd
}

func (a *app) blobList() *cobra.Command {
	var limit int
	var cursor string
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List blobs in the order of their digests",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			q := url.Values{"limit": {strconv.Itoa(limit)}}
			if cursor != "" {
				q.Set("cursor", cursor)
			}
			page, err := a.Client().Blobs(cmd.Context(), q)
			if err != nil {
				return err
			}
			if err := a.PrintList(page, console.LooseAll(page.Items), []console.Column{
				{"DIGEST", "id"},
				{"KIND", "kind"},
				{"CLASS", "class"},
				{"NAME", "name"},
				{"SIZE", "size"},
				{"REFS", "refs"},
			}); err != nil {
				return err
			}
			if table, _ := a.Tables(); table && page.NextCursor != "" {
				fmt.Fprintf(a.Stderr, "%d of %d; go on with --cursor %s\n", len(page.Items), page.Total, page.NextCursor)
			}
			return nil
		},
	}
	cmd.Flags().IntVar(&limit, "limit", 50, "rows a page")
	cmd.Flags().StringVar(&cursor, "cursor", "", "next_cursor of the page before")
	return cmd
}

func (a *app) blobPut() *cobra.Command {
	var kind, name, ttl string
	cmd := &cobra.Command{
		Use:   "put FILE",
		Short: "Store a file on every node and print its digest",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			body, err := readBlob(args[0])
			if err != nil {
				return err
			}
			q := url.Values{"kind": {kind}, "name": {cmp.Or(name, filepath.Base(args[0]))}}
			if ttl != "" {
				q.Set("ttl", ttl)
			}
			b, err := a.Client().PutBlob(cmd.Context(), body, q)
			if err != nil {
				return err
			}
			return a.PrintOne(b)
		},
	}
	cmd.Flags().StringVar(&kind, "kind", "file", "what it is: plugin, tokenizer, template")
	cmd.Flags().StringVar(&name, "name", "", "for people (default: the file's)")
	cmd.Flags().StringVar(&ttl, "ttl", "", "for how long it is kept though nothing refers to it: 24h (default: for ever)")
	return cmd
}

// readBlob reads a file that is to be a blob.
func readBlob(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read blob: %w", err)
	}
	defer f.Close() //nolint:errcheck // it was only read
	body, err := io.ReadAll(io.LimitReader(f, resource.MaxBlobBytes+1))
	if err != nil {
		return nil, fmt.Errorf("read blob: %w", err)
	}
	if len(body) > resource.MaxBlobBytes {
		return nil, fmt.Errorf("read blob: %s is larger than %d MiB", path, resource.MaxBlobBytes>>20)
	}
	return body, nil
}

func (a *app) blobGet() *cobra.Command {
	var path string
	cmd := &cobra.Command{
		Use:   "get DIGEST [--out FILE]",
		Short: "Write the body of a blob; what clients sent is not shown",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			body, err := a.Client().BlobBody(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			if path != "" {
				return os.WriteFile(path, body, 0o600)
			}
			_, err = a.Stdout.Write(body)
			return err
		},
	}
	cmd.Flags().StringVar(&path, "out", "", "file to write (default: standard output)")
	return cmd
}

func (a *app) blobVerify() *cobra.Command {
	return &cobra.Command{
		Use:   "verify DIGEST",
		Short: "Have every node check its copy; the exit status is 1 if too few hold it",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			checks, err := a.Client().VerifyBlob(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			if err := a.PrintList(checks, console.LooseAll(checks), []console.Column{{"NODE", "node"}, {"HOLDS", "holds"}, {"ERROR", "error"}}); err != nil {
				return err
			}
			held := 0
			for _, c := range checks {
				if c.Holds {
					held++
				}
			}
			if want := min(2, len(checks)); held < want {
				return fmt.Errorf("%d of %d nodes hold the blob, %d should", held, len(checks), want)
			}
			return nil
		},
	}
}

func (a *app) blobDelete() *cobra.Command {
	return &cobra.Command{
		Use:   "delete DIGEST",
		Short: "Delete a blob that nothing refers to",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.Client().DeleteBlob(cmd.Context(), args[0])
		},
	}
}

// upload stores the files that a configuration names with blob(PATH). One that the cluster has
// is the same afterwards.
func (a *app) upload(ctx context.Context, files []config.Blob) error {
	for _, f := range files {
		q := url.Values{"kind": {"file"}, "name": {filepath.Base(f.Path)}}
		if _, err := a.Client().PutBlob(ctx, f.Body, q); err != nil {
			return fmt.Errorf("upload %s: %w", f.Path, err)
		}
		fmt.Fprintf(a.Stderr, "uploaded %s as %s\n", console.Printable(f.Path), f.Digest)
	}
	return nil
}

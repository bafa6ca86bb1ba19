package cli

import (
	"cmp"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/conclave-llm/conclave/adminapi/client"
	"github.com/conclave-llm/conclave/cmd/conclave/cli/console"
	"github.com/conclave-llm/conclave/cmd/conclave/cli/workshop"
	"github.com/conclave-llm/conclave/plugins/builtin"
	"github.com/conclave-llm/conclave/plugins/pack"
	"github.com/conclave-llm/conclave/resource/manifest"
)

// pluginCommands are what is done with plugins beside their records.
func (a *app) pluginCommands() []*cobra.Command {
	return []*cobra.Command{
		a.pluginNew(), a.pluginKeygen(), a.pluginPack(), a.pluginInspect(),
		a.pluginUpload(), a.pluginStatus(), a.pluginSchema(), pluginServe(),
	}
}

// pluginNew begins a plugin.
func (a *app) pluginNew() *cobra.Command {
	var n workshop.New
	cmd := &cobra.Command{
		Use:   "new NAME",
		Short: "Write the source of a new plugin in Go that builds, and passes the conformance kit",
		Long: "Write the source of a new plugin in Go that builds, and passes the conformance kit. With --sdk, the folder of " +
			"Conclave's source, a build needs no module that a build of Conclave does not need. After 'go mod vendor' in the " +
			"plugin's folder it needs nothing but Go, and no network.",
		Example: "  conclave plugin new shout --kind guardrail --sdk ~/src/conclave\n  conclave plugin new departments --kind guardrail --hook",
		Args:    cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			n.Name = args[0]
			names, err := n.Create()
			if err != nil {
				return err
			}
			fmt.Fprintf(a.Stdout, "%s: %s\n", cmp.Or(n.Folder, n.Name), strings.Join(names, " "))
			return nil
		},
	}
	cmd.Flags().StringVar(&n.Kind, "kind", "guardrail", strings.Join(manifest.Kinds, " or "))
	cmd.Flags().BoolVar(&n.Hook, "hook", false, "a guardrail that is a general hook: it changes requests, answers and refuses them, words errors and edits records")
	cmd.Flags().StringVar(&n.Module, "module", "", "Go module (default: the name)")
	cmd.Flags().StringVar(&n.Folder, "dir", "", "folder to make (default: the name)")
	cmd.Flags().StringVar(&n.SDK, "sdk", "", "folder of Conclave's source (default: the published module)")
	return cmd
}

// pluginKeygen makes the key of a publisher.
func (a *app) pluginKeygen() *cobra.Command {
	return &cobra.Command{
		Use:   "keygen FILE",
		Short: "Make a signing key: the secret one in FILE, the public one in FILE.pub",
		Args:  cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			key, err := workshop.Keygen(args[0])
			if err != nil {
				return err
			}
			return a.PrintOne(map[string]string{"public_key": key.String(), "fingerprint": key.Fingerprint()})
		},
	}
}

// pluginPack makes a bundle.
func (a *app) pluginPack() *cobra.Command {
	var p workshop.Pack
	cmd := &cobra.Command{
		Use:     "pack [DIR]",
		Short:   "Pack a version of a plugin, with its binary for each platform, into one bundle",
		Long:    "Pack a version of a plugin, with its binary for each platform, into one bundle. DIR has a " + workshop.PlanName + ".",
		Example: "  conclave plugin pack shout --sign-with publisher.key",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			p.Folder = "."
			if len(args) > 0 {
				p.Folder = args[0]
			}
			b, out, err := p.Write()
			if err != nil {
				return err
			}
			return a.PrintOne(inspected(out, b))
		},
	}
	cmd.Flags().StringVar(&p.Version, "version", "", "of the plugin (default: what "+workshop.PlanName+" says)")
	cmd.Flags().StringVar(&p.Key, "sign-with", "", "file of the signing key (default: not signed)")
	cmd.Flags().StringVar(&p.Out, "out", "", "file to write (default: NAME-VERSION"+pack.Extension+")")
	return cmd
}

// shownBundle is what a bundle says about itself.
type shownBundle struct {
	File      string   `json:"file"`
	Name      string   `json:"name"`
	Kind      string   `json:"kind"`
	Version   string   `json:"version"`
	Publisher string   `json:"publisher,omitempty"` // fingerprint; empty: not signed
	Platforms []string `json:"platforms"`
	SHA256    []string `json:"sha256"` // in the order of the platforms
}

func inspected(file string, b *pack.Bundle) shownBundle {
	s := shownBundle{
		File: file, Name: b.Manifest.Name, Kind: b.Manifest.Kind, Version: b.Manifest.Version,
		Publisher: manifest.Publisher(b.Signature),
	}
	for _, bin := range b.Manifest.Binaries {
		s.Platforms, s.SHA256 = append(s.Platforms, bin.Platform()), append(s.SHA256, bin.SHA256)
	}
	return s
}

// readBundle reads the file of a bundle.
func readBundle(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read bundle: %w", err)
	}
	defer func() { _ = f.Close() }()
	file, err := io.ReadAll(io.LimitReader(f, pack.MaxBundle+1))
	if err == nil && len(file) > pack.MaxBundle {
		err = fmt.Errorf("%s has more than the %d bytes that a node takes", path, pack.MaxBundle)
	}
	if err != nil {
		return nil, fmt.Errorf("read bundle: %w", err)
	}
	return file, nil
}

// pluginInspect tells what is in a bundle.
func (a *app) pluginInspect() *cobra.Command {
	return &cobra.Command{
		Use:   "inspect FILE",
		Short: "Check a bundle, without a node, and tell what is in it and who signed it",
		Args:  cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			file, err := readBundle(args[0])
			if err != nil {
				return err
			}
			b, err := pack.Read(file)
			if err != nil {
				return fmt.Errorf("%s: %w", args[0], err)
			}
			if err := (manifest.Trust{}).Check(b.Text, b.Signature); err != nil {
				return fmt.Errorf("%s: %w", args[0], err)
			}
			return a.PrintOne(inspected(args[0], b))
		},
	}
}

// pluginUpload uploads a bundle.
func (a *app) pluginUpload() *cobra.Command {
	return &cobra.Command{
		Use:   "upload FILE",
		Short: "Upload a bundle: every node runs it, and replaces the version before it without a gap",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			file, err := readBundle(args[0])
			if err != nil {
				return err
			}
			p, err := a.Client().UploadPlugin(cmd.Context(), file)
			if err != nil {
				return err
			}
			p.Manifest, p.Signature = "", "" // what they say is shown
			return a.PrintOne(p)
		},
	}
}

// shownModels is how many of a provider the table of processes names.
const shownModels = 3

// pluginStatus tells what runs.
func (a *app) pluginStatus() *cobra.Command {
	var output bool
	cmd := &cobra.Command{
		Use:   "status [NAME]",
		Short: "What runs of plugins on every node, or of one guardrail, callback, secret source, auth plugin or router filter, or of one provider plugin",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			page, err := a.Client().PluginProcesses(cmd.Context(), strings.Join(args, ""))
			if err != nil {
				return err
			}
			if err := a.PrintList(page, processRows(page.Items), []console.Column{
				{"NODE", "node"},
				{"KIND", "kind"},
				{"NAME", "name"},
				{"#", "instance"},
				{"PLUGIN", "plugin"},
				{"VERSION", "version"},
				{"SDK", "sdk"},
				{"STATE", "state"},
				{"SINCE", "since"},
				{"PID", "pid"},
				{"RSS", "rss"},
				{"RESTARTS", "restarts"},
				{"SERVES", "serves"},
				{"ERROR", "error"},
			}); err != nil || !output {
				return err
			}
			for _, n := range page.Items {
				for _, p := range n.Processes {
					for _, line := range p.Output {
						fmt.Fprintf(a.Stdout, "%s %s %d: %s\n", n.Node, p.Name, p.Instance, console.Printable(line))
					}
				}
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&output, "lines", false, "also the last lines that each has written")
	return cmd
}

// processRows makes a row of each process, and of each node that did not answer.
func processRows(nodes []client.NodePlugins) []map[string]any {
	var rows []map[string]any
	for _, n := range nodes {
		for i, row := range console.LooseAll(n.Processes) {
			row["node"] = n.Node
			row["serves"] = servesOf(&n.Processes[i])
			if n.Processes[i].Outdated {
				row["state"] = n.Processes[i].State + " (outdated)"
			}
			rows = append(rows, row)
		}
		if n.Error != "" {
			rows = append(rows, map[string]any{"node": n.Node, "state": "unknown", "error": n.Error})
		}
	}
	return rows
}

// servesOf is what a provider serves: "chat embeddings: house-1 house-2".
func servesOf(p *client.PluginProcess) string {
	text := strings.Join(p.Endpoints, " ")
	if len(p.Models) > 0 {
		text += ": " + strings.Join(p.Models[:min(len(p.Models), shownModels)], " ")
	}
	if more := p.ModelCount - shownModels; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}

// pluginSchema shows the schema of a configuration.
func (a *app) pluginSchema() *cobra.Command {
	var kind string
	cmd := &cobra.Command{
		Use:   "schema NAME",
		Short: "Show the schema of a plugin's configuration, shipped or registered",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := a.Client().PluginSchema(cmd.Context(), args[0], kind)
			if err != nil {
				return err
			}
			return a.PrintJSON(s.Schema)
		},
	}
	cmd.Flags().StringVar(&kind, "kind", "", strings.Join(manifest.Kinds, " or ")+" (default: whichever has the name)")
	return cmd
}

// pluginServe runs a shipped plugin. Nodes call it; nobody else needs to.
func pluginServe() *cobra.Command {
	return &cobra.Command{
		Use:    "serve NAME",
		Short:  "Run a shipped plugin for the node that started this process",
		Hidden: true,
		Args:   cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			signal.Reset(os.Interrupt, syscall.SIGTERM) // a plugin ends when it is told to
			return builtin.Serve(args[0])
		},
	}
}

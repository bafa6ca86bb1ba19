package cli

import (
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/conclave-llm/conclave/cmd/conclave/cli/console"
	"github.com/conclave-llm/conclave/config"
)

// mcpServer is the kind of records of MCP servers.
var mcpServer = noun{
	name: "server", path: "mcp/servers", short: "Servers of the Model Context Protocol",
	columns: []console.Column{
		{"ID", "id"},
		{"NAME", "name"},
		{"ALIAS", "alias"},
		{"TRANSPORT", "transport"},
		{"URL", "url"},
		{"COMMAND", "command"},
		{"ALL KEYS", "allow_all_keys"},
		{"DISABLED", "disabled"},
	},
	fields: []field{
		{"alias", "alias", asText, "stands before the names of its tools (default: the name)"},
		{"description", "description", asText, "for people"},
		{"transport", "transport", asText, "http, sse, stdio or openapi"},
		{"url", "url", asText, "of http and sse; of openapi where the API is (default: what a blob says first)"},
		{"spec", "spec", asText, "of openapi: the document's digest among the blobs, or its URL"},
		{"command", "command", asText, "of stdio: the program that every node runs"},
		{"arg", "args", asList, "an argument of the command"},
		{"env", "env", asPairs, "NAME=VALUE of the process's environment; NAME= removes it"},
		{"header", "headers", asPairs, "NAME=VALUE of every request; NAME= removes it"},
		{"forward-header", "forward_headers", asList, "a header of clients that is passed on"},
		{"auth", "auth", asText, "none, bearer_token, api_key, basic, authorization or oauth2"},
		{"auth-header", "auth_header", asText, "of api_key (default X-API-Key)"},
		{"credential", "credential_id", asText, "id or name of a credential whose key is the token"},
		{"secret", "secrets", asSecretPairs, "auth=SECRET, env.NAME=SECRET or header.NAME=SECRET: env:VAR, file:PATH or -; NAME= removes it"},
		{"allow-tool", "allowed_tools", asList, "a tool or prefix* that it may offer (default: all)"},
		{"disallow-tool", "disallowed_tools", asList, "a tool or prefix* that it may not"},
		{"cost-per-call", "cost_per_call", asNumber, "US dollars"},
		{"guardrail", "guardrails", asList, "a guardrail that judges its calls"},
		{"access-group", "access_groups", asList, "a group that keys and teams may name instead"},
		{"allow-all-keys", "allow_all_keys", asBool, "keys that name no server may use it"},
		{"disabled", "disabled", asBool, "serves nothing"},
		{"timeout-ms", "timeout_ms", asNumber, "of a call (default 60000)"},
		{"parallel", "parallel", asNumber, "calls in flight on a node (default 64)"},
	},
}

// mcpCommand is everything about MCP servers.
func (a *app) mcpCommand() *cobra.Command {
	servers := a.nounCommand(mcpServer)
	for _, verb := range servers.Commands() {
		switch verb.Name() {
		case "create":
			verb.Aliases = []string{"add"}
		case "get":
			verb.Aliases = []string{"show"}
		case "update":
			verb.Aliases = []string{"edit"}
		}
	}
	servers.AddCommand(a.mcpHealth(), a.mcpImport())
	cmd := &cobra.Command{Use: "mcp", Short: "The gateway of the Model Context Protocol", Args: cobra.NoArgs}
	cmd.AddCommand(servers, a.mcpTools(), a.mcpGrants(), a.mcpForget(), a.mcpImport())
	return cmd
}

func (a *app) mcpTools() *cobra.Command {
	return &cobra.Command{
		Use: "tools", Short: "List the tools that the key may call", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			all, err := a.Client().MCPTools(cmd.Context())
			if err != nil {
				return err
			}
			return a.PrintList(all, console.LooseAll(all.Items), []console.Column{{"NAME", "name"}, {"SERVER", "server"}, {"DESCRIPTION", "description"}})
		},
	}
}

func (a *app) mcpGrants() *cobra.Command {
	return &cobra.Command{
		Use: "grants", Short: "List servers that ask for OAuth, and where you allow the gateway to act for you", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			all, err := a.Client().MCPGrants(cmd.Context())
			if err != nil {
				return err
			}
			return a.PrintList(all, console.LooseAll(all.Items), []console.Column{{"SERVER", "server"}, {"ALLOWED", "allowed"}, {"EXPIRES", "expires_at"}, {"URL", "url"}})
		},
	}
}

func (a *app) mcpForget() *cobra.Command {
	return &cobra.Command{
		Use: "forget SERVER", Short: "Forget what you have allowed at a server", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.Client().ForgetMCPGrant(cmd.Context(), args[0])
		},
	}
}

func (a *app) mcpHealth() *cobra.Command {
	return &cobra.Command{
		Use: "health NAME", Short: "Ask a server whether it is there", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			h, err := a.Client().MCPHealth(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			if !h.Healthy {
				return fmt.Errorf("server %s: %s", console.Printable(h.Server), console.Printable(h.Error))
			}
			fmt.Fprintf(a.Stderr, "%s answers\n", console.Printable(h.Server))
			return nil
		},
	}
}

// mcpImport makes servers of a desktop client's file.
func (a *app) mcpImport() *cobra.Command {
	dry := false
	cmd := &cobra.Command{
		Use: "import FILE", Short: "Make the servers of a desktop client's JSON file (mcpServers)", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			b, err := readInput(args[0])
			if err != nil {
				return err
			}
			all, err := config.ParseDesktop(b)
			if err != nil {
				return err
			}
			for i := range all {
				if r := &all[i].Resource; dry {
					fmt.Fprintf(a.Stderr, "would create server %s: %s\n", r.Name, console.Printable(strings.Join(append([]string{r.URL + r.Command}, r.Args...), " ")))
					continue
				}
				doc, err := all[i].Document()
				if err != nil {
					return err
				}
				if _, err := a.Client().MCPServers().Create(cmd.Context(), doc); err != nil {
					return fmt.Errorf("create %s: %w", all[i].Resource.Name, err)
				}
				fmt.Fprintf(a.Stderr, "created server %s\n", all[i].Resource.Name)
			}
			a.WarnPending()
			return nil
		},
	}
	cmd.Flags().BoolVar(&dry, "dry-run", false, "only say what would be made")
	return cmd
}

// readInput reads a file, - is standard input.
func readInput(name string) ([]byte, error) {
	if name == "-" {
		return io.ReadAll(io.LimitReader(os.Stdin, 1<<20))
	}
	return os.ReadFile(name)
}

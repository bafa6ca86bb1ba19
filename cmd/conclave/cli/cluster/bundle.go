package cluster

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/conclave-llm/conclave/cmd/conclave/cli/bundlefile"
	"github.com/conclave-llm/conclave/cmd/conclave/cli/console"
)

func (a *app) bundleCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "bundle", Short: "Signed bundles that bring a new Conclave to a cluster: keygen, create, inspect, verify", Args: cobra.NoArgs}
	cmd.AddCommand(a.bundleKeygen(), a.bundleCreate(), a.bundleInspect(), a.bundleVerify())
	return cmd
}

func (a *app) bundleKeygen() *cobra.Command {
	return &cobra.Command{
		Use:   "keygen FILE",
		Short: "Make a publisher's secret key in FILE (0600), and print the public one for upgrade_publishers",
		Args:  cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			public, err := bundlefile.Keygen(args[0])
			if err == nil {
				fmt.Fprintln(a.Stdout, public)
			}
			return err
		},
	}
}

func (a *app) bundleCreate() *cobra.Command {
	var in bundlefile.Create
	cmd := &cobra.Command{
		Use:   "create FILE",
		Short: "Write a signed bundle of programs, prices and plugins",
		Example: `  conclave bundle create conclave-1.4.0.bundle --version 1.4.0 --key publisher.key \
    --program linux/amd64=dist/conclave-amd64 --program linux/arm64=dist/conclave-arm64 --prices prices.json`,
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			m, err := in.Write(args[0])
			if err != nil {
				return err
			}
			return a.PrintOne(m)
		},
	}
	f := cmd.Flags()
	f.StringVar(&in.Version, "version", "", "of the program")
	f.StringVar(&in.Key, "key", "", "file of the publisher's secret key")
	f.StringArrayVar(&in.Programs, "program", nil, "PLATFORM=FILE, for example linux/amd64=bin/conclave; may be repeated")
	f.StringVar(&in.Prices, "prices", "", "file of list prices, imported when every node runs the program")
	f.StringArrayVar(&in.Plugins, "plugin", nil, "file that `conclave plugin pack` made: replaces the registered plugin of its name when every node runs the program; may be repeated")
	for _, name := range []string{"version", "key", "program"} {
		_ = cmd.MarkFlagRequired(name) // the flags are there
	}
	return cmd
}

func (a *app) bundleInspect() *cobra.Command {
	return &cobra.Command{
		Use:   "inspect FILE",
		Short: "Tell what is in a bundle and who claims to have signed it; nothing is verified",
		Args:  cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			out, err := bundlefile.Inspect(args[0])
			if err != nil {
				return err
			}
			return a.PrintOne(out)
		},
	}
}

func (a *app) bundleVerify() *cobra.Command {
	var publishers []string
	cmd := &cobra.Command{
		Use:   "verify FILE --publisher KEY",
		Short: "Read a bundle to its last byte: is it whole, and signed by one of the publishers",
		Args:  cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			out, err := bundlefile.Verify(args[0], publishers)
			if err != nil {
				return err
			}
			fmt.Fprintf(a.Stderr, "%s is whole and signed by %s\n", console.Printable(args[0]), out.Signer)
			return a.PrintOne(out)
		},
	}
	cmd.Flags().StringArrayVar(&publishers, "publisher", nil, "public key (ed25519:…) that is trusted; may be repeated")
	_ = cmd.MarkFlagRequired("publisher") // the flag is there
	return cmd
}

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/conclave-llm/conclave/config"
	"github.com/conclave-llm/conclave/config/load"
	"github.com/conclave-llm/conclave/egress"
	"github.com/conclave-llm/conclave/node/keyservice"
	"github.com/conclave-llm/conclave/secret"
)

const (
	keyServiceTimeout = 10 * time.Second
	maxSealed         = 1 << 20
)

// opener opens what the environment and the file of a node hold sealed: "sealed:…" by the KEK,
// "aws_kms/…", "gcp_kms/…" and "azure_kms/…" by a key service.
type opener struct {
	services *keyservice.Services
	cover    secret.Cover // of the KEK's file; nil: none
	kek      secret.Text  // as configured; "": it is in the data folder
	kekNext  secret.Text
	way      *egress.Dialer // by which key services are asked
	dataDir  string
	keys     *secret.Values // the KEKs and the keys that were kept of those before, once they are needed
	opened   map[string]string
	under    map[string]string // by what was sealed, the KEK that it was sealed under
}

// newOpener reads from the node block where the KEK is, and opens the variables of this process.
func newOpener(ctx context.Context, file string) (*opener, error) {
	o, err := newSealer(ctx, file)
	if err != nil {
		return nil, err
	}
	for _, pair := range os.Environ() {
		name, value, _ := strings.Cut(pair, "=")
		plain, err := o.open(ctx, "environment variable "+name, value)
		if err != nil {
			return nil, fmt.Errorf("environment variable %s: %w", name, err)
		}
		if plain != value {
			o.opened[name] = plain
		}
	}
	return o, nil
}

// newSealer is newOpener for somebody who only seals: the variables stay as they are, for one may have been sealed under a
// KEK that was exchanged since.
func newSealer(ctx context.Context, file string) (*opener, error) {
	n, _, err := load.Node(file, os.LookupEnv)
	if err != nil {
		return nil, err
	}
	way, err := egress.New(egress.Config{Proxy: proxyOf(n), FromEnvironment: n.ProxyFromEnvironment})
	if err != nil {
		return nil, err
	}
	o := &opener{way: way, services: keyservice.New(keyservice.Config{Client: way.Client(keyServiceTimeout)}), dataDir: n.DataDir, opened: map[string]string{}, under: map[string]string{}}
	if err := o.findKEK(ctx, n); err != nil {
		return nil, err
	}
	return o, nil
}

// findKEK takes the KEK that is configured, or the key that covers the one in the data folder.
func (o *opener) findKEK(ctx context.Context, n *config.Node) (err error) {
	if keyservice.Location(n.KEK.Reveal()) {
		o.cover, err = o.services.Cover(n.KEK.Reveal())
		return err
	}
	for _, k := range []struct {
		name string
		from config.Secret
		to   *secret.Text
	}{{"kek", n.KEK, &o.kek}, {"kek_next", n.KEKNext, &o.kekNext}} {
		text, sealed, err := o.services.Open(ctx, k.from.Reveal())
		if err != nil {
			return fmt.Errorf("%s: %w", k.name, err)
		}
		if *k.to = secret.New(k.from.Reveal()); sealed {
			*k.to = secret.New(string(text))
		}
	}
	return nil
}

// lookup is os.LookupEnv with what was sealed opened.
func (o *opener) lookup(name string) (string, bool) {
	if v, ok := o.opened[name]; ok {
		return v, true
	}
	return os.LookupEnv(name)
}

// open opens a value that is sealed; every other is returned as it is. what says whose it is.
func (o *opener) open(ctx context.Context, what, value string) (string, error) {
	if strings.HasPrefix(value, secret.SealedPrefix) {
		keys, err := o.keks(ctx)
		if err != nil {
			return "", err
		}
		text, kek, err := keys.Open(value)
		if errors.Is(err, secret.ErrWrongKey) {
			return "", fmt.Errorf("%w; seal it again with conclave secret seal", err)
		}
		o.under[what] = kek
		return text.Reveal(), err
	}
	plain, sealed, err := o.services.Open(ctx, value)
	if err != nil || !sealed {
		return value, err
	}
	return string(plain), nil
}

// keks are the KEKs of this node, and what it has kept of those before.
func (o *opener) keks(ctx context.Context) (*secret.Values, error) {
	if o.keys != nil {
		return o.keys, nil
	}
	ring, err := o.ring(ctx)
	if err != nil {
		return nil, err
	}
	kept, err := secret.Kept(o.dataDir).Load(ring)
	if err != nil {
		return nil, err
	}
	o.keys = &secret.Values{Ring: ring, Kept: kept}
	return o.keys, nil
}

func (o *opener) ring(ctx context.Context) (*secret.Ring, error) {
	if o.kek.IsZero() {
		return secret.Files{Dir: o.dataDir, Cover: o.cover}.Load(ctx)
	}
	kek, err := secret.KEKOf(o.kek)
	if err != nil {
		return nil, err
	}
	ring := secret.NewRing(kek)
	if o.kekNext.IsZero() {
		return ring, nil
	}
	next, err := secret.KEKOf(o.kekNext)
	if err != nil {
		return nil, err
	}
	ring.Add(next)
	return ring, nil
}

// file opens what stands sealed in the file itself.
func (o *opener) file(ctx context.Context, n *config.Node, r *config.Resources) error {
	if n != nil {
		for name, s := range map[string]*config.Secret{"master_key": &n.MasterKey, "password of proxy": &n.ProxyPassword} {
			plain, err := o.open(ctx, name, s.Reveal())
			if err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			*s = config.Secret(plain)
		}
	}
	if r == nil {
		return nil
	}
	return r.EachSecret(func(s config.Secret) (config.Secret, error) {
		plain, err := o.open(ctx, "a secret of the file", s.Reveal())
		return config.Secret(plain), err
	})
}

// openResources opens what stands sealed in a node's own file, for who applies it.
func openResources(ctx context.Context, file string, r *config.Resources) error {
	sealed := false
	_ = r.EachSecret(func(s config.Secret) (config.Secret, error) { // there is no error
		sealed = sealed || strings.HasPrefix(s.Reveal(), secret.SealedPrefix) || keyservice.Sealed(s.Reveal())
		return s, nil
	})
	if !sealed {
		return nil
	}
	o, err := newOpener(ctx, file)
	if err != nil {
		return fmt.Errorf("the file has sealed values, which only a node's own file can be applied with, where its KEK is: %w", err)
	}
	return o.file(ctx, nil, r)
}

// proxyOf is the node's own proxy; nil: none.
func proxyOf(n *config.Node) *egress.Options {
	if n.Proxy == nil {
		return nil
	}
	return &egress.Options{Proxy: n.Proxy, Password: secret.New(string(n.ProxyPassword))}
}

func (a *app) secretCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "secret", Short: "Values that are sealed for a node's environment or file", Args: cobra.NoArgs}
	var file string
	seal := &cobra.Command{
		Use:   "seal --config FILE",
		Short: "Seal the value on standard input under the KEK of this node",
		Long: `Reads a value from standard input and writes what may stand in its place, in the environment or
the file of every node with this KEK: it is opened when the node starts. A line end behind the
value is dropped. It goes on opening after "conclave cluster rotate kek": nodes keep a key that opens
such values and nothing else. The warnings of "conclave cluster status" name those that rest on an old KEK.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.seal(cmd.Context(), file, cmd.InOrStdin()) },
	}
	seal.Flags().StringVar(&file, "config", "", "configuration file (HCL) of the node")
	_ = seal.MarkFlagRequired("config") // the flag is there
	cmd.AddCommand(seal)
	return cmd
}

func (a *app) seal(ctx context.Context, file string, in io.Reader) error {
	o, err := newSealer(ctx, file)
	if err != nil {
		return err
	}
	b, err := io.ReadAll(io.LimitReader(in, maxSealed+1))
	if err != nil {
		return fmt.Errorf("read value: %w", err)
	}
	value := strings.TrimRight(string(b), "\r\n")
	if value == "" || len(b) > maxSealed {
		return errors.New("the value on standard input is empty, or over 1 MiB")
	}
	ring, err := o.ring(ctx)
	if err != nil {
		return err
	}
	sealed, err := secret.SealValue(ring.InUse(), secret.New(value))
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(a.stdout, sealed)
	return err
}

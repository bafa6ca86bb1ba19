package plugintest

import (
	"cmp"
	"context"
	"errors"
	"os"
	"strings"
	"sync"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/conclave-llm/conclave/plugins/contract"
	wire "github.com/conclave-llm/conclave/plugins/proto"
	"github.com/conclave-llm/conclave/plugins/sdk"
	"github.com/conclave-llm/conclave/plugins/secretsource"
)

// SecretSourceCase says what the secret source under test should read.
type SecretSourceCase struct {
	Config  []byte   // that must be accepted
	Bad     [][]byte // configurations that must be refused
	At      sdk.SecretAddress
	Value   string            // of the secret at At
	Missing sdk.SecretAddress // of a secret that the store does not have
}

// SecretSource runs the checks of secret sources; make returns a fresh, unconfigured plugin.
func SecretSource(t *testing.T, make func() sdk.SecretSource, c SecretSourceCase) {
	k := &sourceKit{c: c, from: inMemory{source: make}}
	run(t, k.checks())
}

// SecretSourceProgram runs the checks of secret sources and of processes on a program.
func SecretSourceProgram(t *testing.T, p Program, c SecretSourceCase) {
	from := &launched{Program: p, kind: secretsource.PluginKey}
	k := &sourceKit{c: c, from: from}
	run(t, k.checks())
	run(t, from.checks())
	run(t, k.processChecks(from))
}

type sourceKit struct {
	c    SecretSourceCase
	from source
}

// checks are those of the contract.
func (k *sourceKit) checks() []check {
	return []check{
		{"describes itself", k.describes},
		{"refuses bad configurations", k.refuses},
		{"reads the secret", k.reads},
		{"reads the same each time", k.steady},
		{"says that a secret is not there", k.missing},
		{"reads at the same time", k.concurrent},
		{"takes strange addresses", k.strange},
		{"does not repeat secrets in errors", k.discreet},
		{"heeds cancellation", k.cancelled},
		{"starts over", k.restart},
		{"serves an older host", k.hostOf(0)},
		{"serves a newer host", k.hostOf(contract.Minor + 90)},
		{"passes over fields that it does not know", k.newFields},
		{"tells the minor that it was built against", k.minor},
	}
}

func (k *sourceKit) start(t *testing.T) *secretsource.Client {
	t.Helper()
	c := secretsource.NewClient(k.from.connect(t))
	if _, err := c.Configure(short(t), sdk.SecretSourceSettings{Name: "test", Config: k.c.Config}); err != nil {
		t.Fatalf("the configuration is refused: %v", err)
	}
	return c
}

// read reads the secret of the case.
func (k *sourceKit) read(t *testing.T, c *secretsource.Client) {
	t.Helper()
	if v, err := c.Read(short(t), k.c.At); err != nil || v.Text.Reveal() != k.c.Value {
		t.Errorf("got %d bytes, %v, want the %d of the case", len(v.Text.Reveal()), err, len(k.c.Value))
	}
}

func (k *sourceKit) describes(t *testing.T) {
	d, err := secretsource.NewClient(k.from.connect(t)).Configure(short(t), sdk.SecretSourceSettings{Name: "test", Config: k.c.Config})
	if err != nil || d.Version == "" {
		t.Errorf("version %q, %v", d.Version, err)
	}
}

func (k *sourceKit) refuses(t *testing.T) {
	for _, bad := range k.c.Bad {
		c := secretsource.NewClient(k.from.connect(t))
		if _, err := c.Configure(short(t), sdk.SecretSourceSettings{Name: "test", Config: bad}); err == nil {
			t.Errorf("%s is accepted", bad)
		}
	}
}

func (k *sourceKit) reads(t *testing.T) {
	if k.c.Value == "" {
		t.Fatal("the case says no value: nothing would be checked")
	}
	k.read(t, k.start(t))
}

func (k *sourceKit) steady(t *testing.T) {
	c := k.start(t)
	for range 10 {
		k.read(t, c)
	}
}

// reason is why there is no secret, "" if there is one.
func reason(err error) secretsource.Reason {
	e, _ := errors.AsType[*sdk.SecretError](err)
	if e == nil {
		return ""
	}
	return e.Reason
}

func (k *sourceKit) missing(t *testing.T) {
	if k.c.Missing == (sdk.SecretAddress{}) {
		t.Skip("the case names no such secret")
	}
	c := k.start(t)
	if _, err := c.Read(short(t), k.c.Missing); reason(err) != sdk.SecretNotFound {
		t.Errorf("got %v, want the reason %s", err, sdk.SecretNotFound)
	}
	k.read(t, c)
}

func (k *sourceKit) concurrent(t *testing.T) {
	c := k.start(t)
	var wg sync.WaitGroup
	for range 100 {
		wg.Go(func() { k.read(t, c) })
	}
	wg.Wait()
}

// oddities are addresses that no store has, of the kind that lead out of a folder or a URL.
var oddities = []sdk.SecretAddress{
	{Path: "../../../../etc/passwd"},
	{Path: "/etc/passwd"},
	{Path: "a\x00b"},
	{Path: "?x=1"},
	{Path: "%2e%2e/x"},
	{Path: "."},
	{Path: ""},
	{Path: " "},
	{Path: strings.Repeat("x", 1024)},
	{Path: "x", Field: "\u202e"},
	{Path: "{}", Field: "a.b[0]"},
	{Path: "\\\\host\\share"},
}

func (k *sourceKit) strange(t *testing.T) {
	c := k.start(t)
	for _, at := range oddities {
		if v, err := c.Read(short(t), at); err == nil {
			t.Errorf("%q %q is a secret of %d bytes", at.Path, at.Field, len(v.Text.Reveal()))
		}
	}
	k.read(t, c)
}

func (k *sourceKit) discreet(t *testing.T) {
	c := k.start(t)
	for _, at := range append([]sdk.SecretAddress{k.c.Missing, {Path: k.c.At.Path, Field: "no such field"}, {Path: k.c.At.Path + "x", Field: k.c.At.Field}}, oddities...) {
		if _, err := c.Read(short(t), at); err != nil && strings.Contains(err.Error(), k.c.Value) {
			t.Errorf("%q %q: the error holds a secret", at.Path, at.Field)
		}
	}
}

func (k *sourceKit) cancelled(t *testing.T) {
	c := k.start(t)
	ctx, cancel := context.WithCancel(short(t))
	cancel()
	_, _ = c.Read(ctx, k.c.At) // may or may not be answered
	k.read(t, c)
}

func (k *sourceKit) restart(t *testing.T) {
	k.read(t, k.start(t))
	k.read(t, k.start(t))
}

// configured configures a fresh plugin with the message and reads through it.
func (k *sourceKit) configured(t *testing.T, c *wire.ConfigureSecretSource) *wire.SecretSourceDescription {
	t.Helper()
	rpc := wire.NewSecretSourceClient(k.from.connect(t))
	c.Name, c.Config = "test", k.c.Config
	d, err := rpc.Configure(short(t), c)
	if err != nil {
		t.Fatalf("the configuration is refused: %v", err)
	}
	ask := &wire.ReadSecret{Path: k.c.At.Path, Field: k.c.At.Field}
	ask.ProtoReflect().SetUnknown(unknownField)
	if v, err := rpc.Read(short(t), ask); err != nil || string(v.GetValue()) != k.c.Value {
		t.Errorf("got %d bytes, %v", len(v.GetValue()), err)
	}
	_, err = rpc.Read(short(t), &wire.ReadSecret{Path: "\x01no such secret"})
	switch status.Code(err) {
	case codes.NotFound, codes.PermissionDenied, codes.InvalidArgument, codes.Unavailable:
	default:
		t.Errorf("a secret that there is not: status %s says nothing to a node", status.Code(err))
	}
	return d
}

func (k *sourceKit) hostOf(minor uint32) func(t *testing.T) {
	return func(t *testing.T) {
		k.configured(t, &wire.ConfigureSecretSource{HostVersion: "99.0.0", HostMinor: minor})
	}
}

func (k *sourceKit) newFields(t *testing.T) {
	c := &wire.ConfigureSecretSource{}
	c.ProtoReflect().SetUnknown(unknownField)
	k.configured(t, c)
}

func (k *sourceKit) minor(t *testing.T) {
	if m := k.configured(t, &wire.ConfigureSecretSource{HostMinor: contract.Minor}).GetSdkMinor(); m < contract.MinorSources {
		t.Errorf("minor %d has no secret sources: they came with %d", m, contract.MinorSources)
	}
}

// processChecks are those of a secret source's process while it works.
func (k *sourceKit) processChecks(from *launched) []check {
	return []check{
		{"stays within its memory", func(t *testing.T) {
			c := k.start(t)
			for range 500 {
				k.read(t, c)
			}
			limit := cmp.Or(from.MemoryLimit, int64(defaultMemory))
			if rss, _ := usage(t, from.last.pid()); rss > limit {
				t.Errorf("%d bytes of memory, more than %d: a node would kill it", rss, limit)
			}
		}},
		{"does not keep descriptors", func(t *testing.T) {
			c := k.start(t)
			k.read(t, c)
			_, before := usage(t, from.last.pid())
			for range 100 {
				k.read(t, c)
			}
			if _, after := usage(t, from.last.pid()); after > before+8 { // connections to a store stay open
				t.Errorf("%d descriptors are open, before it were %d", after, before)
			}
		}},
		{"does not write what it reads", func(t *testing.T) { k.silent(t, from) }},
		{"fails what is under way when it is killed", func(t *testing.T) { k.killed(t, from) }},
	}
}

// silent looks into what the process writes for the secret.
func (k *sourceKit) silent(t *testing.T, from *launched) {
	c := k.start(t)
	k.read(t, c)
	_, _ = c.Read(short(t), sdk.SecretAddress{Path: k.c.At.Path, Field: "no such field"}) // an error may be logged
	from.last.client.Kill()                                                               // what it has written has arrived
	if strings.Contains(from.last.said.String(), k.c.Value) {
		t.Error("it writes the secret to its log, which the node keeps")
	}
}

// killed sees that nobody waits for a process that is gone.
func (k *sourceKit) killed(t *testing.T, from *launched) {
	c := k.start(t)
	p, err := os.FindProcess(from.last.pid())
	if err == nil {
		err = p.Kill()
	}
	if err != nil {
		t.Fatal(err)
	}
	within(t, "the process is gone", from.last.client.Exited)
	if _, err := c.Read(short(t), k.c.At); reason(err) != sdk.SecretUnavailable {
		t.Errorf("a process that was killed: got %v, want the reason %s", err, sdk.SecretUnavailable)
	}
}

package node

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/conclave-llm/conclave/adminapi/client"
	"github.com/conclave-llm/conclave/adminapi/keyshelf"
	"github.com/conclave-llm/conclave/adminapi/records"
	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/internal/clock"
	"github.com/conclave-llm/conclave/plugins/secretsource"
	"github.com/conclave-llm/conclave/resource"
	"github.com/conclave-llm/conclave/secret"
)

const (
	secretsMethod  = "secrets/test"
	secretsTimeout = 8 * time.Second // for all nodes to answer; one read takes 5 s at most
	secretWait     = 2 * time.Second // of a request, for a secret that was not read before
	sourcesWait    = time.Minute     // at a start, for the processes of secret sources
)

// startSecrets makes the place where secrets of secret sources are held.
func (n *Node) startSecrets() {
	n.secrets = secretsource.NewCache(secretsource.CacheConfig{
		Source: n.secretSource, Changed: n.secretsChanged, Logger: n.log, Registerer: n.registry,
	})
	n.consensus.Handle(secretsMethod, n.serveSecrets)
	n.wg.Go(func() { n.secrets.Run(n.ctx) })
	n.wg.Go(func() { n.watchSecretFiles(n.ctx) })
}

// leaving notes the keys that a file's commands are about to delete, so that their secrets are taken out of the store of
// secrets when they are committed. The processes of secret sources may only be starting, and nobody waits for them.
func (n *Node) leaving(cmds []fsm.Command) (committed func(context.Context)) {
	rs := records.New(records.Config{State: n.state, Shelf: keyshelf.New(n.secrets, n.state.Catalog, n.log)})
	left := rs.Leaving(cmds)
	return func(context.Context) {
		n.wg.Go(func() {
			ctx, cancel := context.WithTimeout(n.ctx, sourcesWait)
			defer cancel()
			for _, s := range n.state.Catalog().Tables().SecretSources {
				if s.Writes() {
					n.secrets.Await(ctx, s.Name)
				}
			}
			left(ctx)
		})
	}
}

// secretSource finds the record of a secret source.
func (n *Node) secretSource(name string) (*resource.SecretSource, bool) {
	for _, s := range n.state.Catalog().Tables().SecretSources {
		if s.Name == name {
			return s, true
		}
	}
	return nil, false
}

// secretsChanged has everything made anew that may hold a secret of a source.
func (n *Node) secretsChanged() {
	signal(n.changed)
	signal(n.servers)
	if drop := n.drop.Load(); drop != nil {
		(*drop)()
	}
}

// resolveSecret resolves a reference for a request, which waits for a secret that was not read before.
func (n *Node) resolveSecret(ref string) (secret.Text, error) {
	ctx, cancel := context.WithTimeout(n.ctx, secretWait)
	defer cancel()
	return n.secrets.Resolve(ctx, ref)
}

// secretTests tells the admin API what becomes of references on each node.
type secretTests struct{ n *Node }

// serveSecrets answers another node's question.
func (n *Node) serveSecrets(ctx context.Context, _ string, body []byte) ([]byte, error) {
	var ref string
	if err := json.Unmarshal(body, &ref); err != nil {
		return nil, fmt.Errorf("read question about a secret: %w", err)
	}
	return json.Marshal(n.testSecret(ctx, ref))
}

// testSecret resolves a reference here, whatever is held of it.
func (n *Node) testSecret(ctx context.Context, ref string) client.SecretTested {
	out := client.SecretTested{Node: n.cfg.Name}
	var state secretsource.State
	if resource.IsSecretRef(ref) {
		state = n.secrets.Test(ctx, ref)
	} else {
		text, err := n.opener().resolve(ref)
		state = secretsource.State{Fingerprint: text.Fingerprint(), Err: err, Read: clock.Now()}
	}
	out.Fingerprint, out.Version = state.Fingerprint, state.Version
	if state.Fingerprint != "" {
		out.ReadAt = state.Read.UTC()
	}
	if state.Err == nil {
		out.OK = true
		return out
	}
	out.Error, out.Code = state.Err.Error(), secret.CodeUnresolved
	if u, ok := errors.AsType[*secret.Unresolved](state.Err); ok {
		out.Reason = u.Reason
	}
	return out
}

// Test implements adminapi.Secrets.
func (s secretTests) Test(ctx context.Context, ref string) []client.SecretTested {
	ctx, cancel := context.WithTimeout(ctx, secretsTimeout)
	defer cancel()
	living := s.n.living()
	slices.SortFunc(living, func(a, b *resource.Member) int { return cmp.Compare(a.Name, b.Name) })
	out := make([]client.SecretTested, len(living))
	var wg sync.WaitGroup
	for i, m := range living {
		wg.Go(func() { out[i] = s.one(ctx, m, ref) })
	}
	wg.Wait()
	return out
}

func (s secretTests) one(ctx context.Context, m *resource.Member, ref string) client.SecretTested {
	if m.ID == s.n.identity.NodeID {
		return s.n.testSecret(ctx, ref)
	}
	var out client.SecretTested
	body, err := json.Marshal(ref)
	if err == nil {
		body, err = s.n.consensus.Call(ctx, m.ID, secretsMethod, body)
	}
	if err == nil {
		err = json.Unmarshal(body, &out)
	}
	if err != nil {
		return client.SecretTested{Node: m.Name, Error: err.Error(), Reason: "no_answer"}
	}
	return out
}

package node

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"github.com/conclave-llm/conclave/adminapi/client"
	"github.com/conclave-llm/conclave/plugins"
	"github.com/conclave-llm/conclave/resource"
)

const (
	pluginsMethod  = "plugins/processes"
	pluginsTimeout = 3 * time.Second // for all nodes to answer
)

// servePlugins answers another node's question.
func (n *Node) servePlugins(context.Context, string, []byte) ([]byte, error) {
	list := n.plugins.Status()
	out := make([]client.PluginProcess, len(list))
	for i := range list {
		out[i] = processOf(&list[i])
	}
	return json.Marshal(out)
}

func processOf(s *plugins.Status) client.PluginProcess {
	return client.PluginProcess{
		Kind: string(s.Kind), Name: s.Name, Instance: s.Instance, Plugin: s.Plugin, Bundle: s.Bundle, SHA256: s.SHA256, Runs: s.Runs, Outdated: s.Outdated,
		Version: s.Version, SDK: s.SDK, State: string(s.State), Since: resource.At(s.Since), PID: s.PID, RSS: s.RSS,
		Restarts: s.Restarts, Error: s.Error, Output: s.Output, HoldBack: s.HoldBack, HoldAll: s.HoldAll, Mark: s.Mark,
		Endpoints: s.Endpoints, Models: s.Models, ModelCount: s.ModelCount,
	}
}

// pluginProcesses are those of all nodes.
type pluginProcesses struct{ n *Node }

// Processes implements adminapi.Plugins.
func (p pluginProcesses) Processes(ctx context.Context) []client.NodePlugins {
	ctx, cancel := context.WithTimeout(ctx, pluginsTimeout)
	defer cancel()
	living := p.n.living()
	out := make([]client.NodePlugins, len(living))
	var wg sync.WaitGroup
	for i, member := range living {
		wg.Go(func() {
			out[i] = client.NodePlugins{NodeID: member.ID, Node: member.Name, Processes: []client.PluginProcess{}}
			if err := p.of(ctx, member.ID, &out[i].Processes); err != nil {
				out[i].Error = err.Error()
			}
		})
	}
	wg.Wait()
	return out
}

func (p pluginProcesses) of(ctx context.Context, id string, into *[]client.PluginProcess) error {
	body, err := p.n.servePlugins(ctx, "", nil)
	if id != p.n.identity.NodeID {
		body, err = p.n.consensus.Call(ctx, id, pluginsMethod, nil)
	}
	if err != nil {
		return err
	}
	if err := json.Unmarshal(body, into); err != nil {
		return fmt.Errorf("read the processes of a node: %w", err)
	}
	return nil
}

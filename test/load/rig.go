package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/conclave-llm/conclave/internal/ports"
)

// rig is the demo upstream, the relay and the node, all running.
type rig struct {
	dir                 string
	mock, slow          *process // the upstream, and one that takes its time between chunks
	rel, nod            *process
	direct, relay, node *target
	ready               time.Duration // of the node, from its start to readiness
}

const (
	masterKey  = "sk-load-master-0123456789"
	virtualKey = "sk-load-virtual-0123456789"
)

// nodeFile turns on what a real node has on: key auth, a budget, a limit and the ledger.
const nodeFile = `
node {
  name       = "a"
  data_dir   = %q
  listen     = %q
  cluster    = %q
  master_key = env("CONCLAVE_MASTER_KEY")
}

model "demo" {
  strategy = "least_busy"

  deployment "d1" {
    provider = "openai"
    api_base = %q
    model    = "demo"

    price {
      input  = 0.15
      output = 0.60
    }
  }
}

model "claude" {
  deployment "d2" {
    provider = "anthropic"
    api_base = %q
    model    = "claude"

    price {
      input  = 3
      output = 15
    }
  }
}

model "slow" {
  deployment "d3" {
    provider = "openai"
    api_base = %q
    model    = "slow"

    price {
      input  = 0.15
      output = 0.60
    }
  }
}

key "load" {
  models = ["demo", "claude", "slow"]
  secret = env("LOAD_KEY")

  budget {
    usd = 1000000
    per = "day"
  }

  limit {
    rpm = 100000000
  }
}
`

func startRig(ctx context.Context, o options) (*rig, error) {
	dir, err := os.MkdirTemp("", "conclave-load-")
	if err != nil {
		return nil, err
	}
	r := &rig{dir: dir}
	if err := r.start(ctx, o); err != nil {
		r.stop()
		return nil, err
	}
	return r, nil
}

func (r *rig) start(ctx context.Context, o options) error {
	var addrs [5]string
	for i := range addrs {
		a, err := ports.Addr()
		if err != nil {
			return err
		}
		addrs[i] = a
	}
	mockAddr, relayAddr, client, cluster, slowAddr := addrs[0], addrs[1], addrs[2], addrs[3], addrs[4]
	var err error
	if r.mock, err = startMock(ctx, o, mockAddr, "--chunks", "50"); err != nil {
		return err
	}
	if r.slow, err = startMock(ctx, o, slowAddr, "--chunks", "60", "--chunk-delay", "2s"); err != nil {
		return err
	}
	if r.rel, err = start(ctx, nil, os.Args[0], "relay", relayAddr, "http://"+mockAddr); err != nil {
		return err
	}
	if err := r.rel.waitOK(ctx, "http://"+relayAddr+"/v1/models", 10*time.Second); err != nil {
		return err
	}
	if err := r.startNode(ctx, o, client, cluster, "http://"+mockAddr, "http://"+slowAddr); err != nil {
		return err
	}
	r.direct = newTarget("direct", mockAddr, nil)
	r.relay = newTarget("relay", relayAddr, r.rel)
	r.node = newTarget("node", client, r.nod)
	return nil
}

// startMock starts a demo upstream.
func startMock(ctx context.Context, o options, addr string, flags ...string) (*process, error) {
	p, err := start(ctx, nil, o.conclave, append([]string{"mock", "--listen", addr}, flags...)...)
	if err != nil {
		return nil, err
	}
	return p, p.waitOK(ctx, "http://"+addr+"/v1/models", 10*time.Second)
}

func (r *rig) startNode(ctx context.Context, o options, client, cluster, mock, slow string) error {
	file := filepath.Join(r.dir, "node.hcl")
	text := fmt.Sprintf(nodeFile, filepath.Join(r.dir, "data"), client, cluster, mock+"/v1", mock, slow+"/v1")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return err
	}
	env := []string{"CONCLAVE_MASTER_KEY=" + masterKey, "LOAD_KEY=" + virtualKey}
	begin := time.Now()
	var err error
	if r.nod, err = start(ctx, env, o.conclave, "serve", "--config", file, "--bootstrap"); err != nil {
		return err
	}
	if err := r.nod.waitOK(ctx, "http://"+client+"/health/readiness", 20*time.Second); err != nil {
		return err
	}
	r.ready = time.Since(begin)
	return nil
}

func (r *rig) stop() {
	r.nod.stop()
	r.rel.stop()
	r.mock.stop()
	r.slow.stop()
	_ = os.RemoveAll(r.dir)
}

func newTarget(name, addr string, p *process) *target {
	return &target{
		name: name, base: "http://" + addr, key: virtualKey, proc: p,
		client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 512, DisableCompression: true}},
	}
}

func (t *target) rss() int64     { return t.proc.status("VmRSS") }
func (t *target) peakRSS() int64 { return t.proc.status("VmHWM") }

// timeThree starts three nodes in one process and measures until all are ready.
func timeThree(ctx context.Context, conclave string) (time.Duration, error) {
	dir, err := os.MkdirTemp("", "conclave-load-")
	if err != nil {
		return 0, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	const port = 24000
	begin := time.Now()
	p, err := start(ctx, nil, conclave, "dev", "--data-dir", dir, "--port", strconv.Itoa(port))
	if err != nil {
		return 0, err
	}
	defer p.stop()
	for i := range 3 {
		if err := p.waitOK(ctx, fmt.Sprintf("http://127.0.0.1:%d/health/readiness", port+10*i), 30*time.Second); err != nil {
			return 0, err
		}
	}
	return time.Since(begin), nil
}

// Command load compares one Conclave node with a bare net/http relay. It starts the demo
// upstream, the relay and the node, drives relay and node with the same load in turns, and
// prints a table with the ratios. Everything runs on loopback, bounded in count and time.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"time"
)

// options are the driver's flags.
type options struct {
	conclave  string        // path of the binary
	requests  int           // per round of the closed loop
	streams   int           // per round of the streamed closed loop
	conns     int           // connections of the closed loop
	rate      int           // requests a second of the open loop
	open      time.Duration // length of each open-loop round
	rounds    int           // of each measurement; the median counts
	keys      int           // made by the admin load
	clients   int           // of the admin load
	keyRate   int           // keys a second of the admin load's second round
	bulk      int           // keys made in bulk, and again by an import
	plain     bool          // keys in bulk have no budgets
	bodies    int           // large ones at a time
	held      int           // streams that are open at a time
	totalRate int           // requests a second of each of three nodes
	totalFor  time.Duration // how long
	commands  int           // changes that the cluster load makes one by one
	only      string        // figures of the cluster load; "": all
	pairs     int           // keys that the cluster load makes on one node and uses at once on another
	scale     int           // keys of the node that the scale load starts anew
	models    int           // likewise
	oneCPU    bool          // that node has one CPU
}

func main() {
	if len(os.Args) == 4 && os.Args[1] == "relay" {
		if err := serveRelay(os.Args[2], os.Args[3]); err != nil {
			fmt.Fprintln(os.Stderr, "load relay:", err)
			os.Exit(1)
		}
		return
	}
	o, measure := flags()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := measure(ctx, o, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "load:", err)
		os.Exit(1)
	}
}

// flags reads the options, and what they say is to be measured.
func flags() (o options, measure func(context.Context, options, io.Writer) error) {
	measure = run
	instead := func(name, usage string, what func(context.Context, options, io.Writer) error) {
		flag.BoolFunc(name, usage, func(string) error { measure = what; return nil })
	}
	flag.StringVar(&o.conclave, "conclave", "bin/conclave", "the binary under test")
	flag.IntVar(&o.requests, "requests", 4000, "requests in a round of the closed loop")
	flag.IntVar(&o.streams, "streams", 600, "streams in a round of the closed loop")
	flag.IntVar(&o.conns, "conns", 16, "connections of the closed loop")
	flag.IntVar(&o.rate, "rate", 300, "requests a second of the open loop")
	flag.DurationVar(&o.open, "open", 8*time.Second, "length of a round of the open loop")
	flag.IntVar(&o.rounds, "rounds", 5, "rounds of each measurement; the median counts")
	flag.IntVar(&o.keys, "keys", 20000, "keys that the admin load makes")
	flag.IntVar(&o.clients, "clients", 64, "clients of the admin load")
	flag.IntVar(&o.keyRate, "keyrate", 1000, "keys a second of the admin load's second round")
	flag.IntVar(&o.bulk, "bulk", 100_000, "keys that the admin load makes in bulk, and again by an import")
	flag.IntVar(&o.scale, "scale", 0, "measure one node with so many keys instead of requests")
	flag.IntVar(&o.models, "models", 0, "models of the node of -scale, one of them with a guardrail whose plugin it waits for")
	flag.BoolVar(&o.oneCPU, "onecpu", false, "run the node of -scale on one CPU, by taskset and GOMAXPROCS=1")
	flag.BoolVar(&o.plain, "plain", false, "give keys that are made in bulk no budgets")
	instead("memory", "measure only the memory of the node and its plugins", runMemory)
	instead("admin", "measure the creating of keys instead of requests", runAdmin)
	instead("large", "measure only large bodies and many streams", runLarge)
	flag.IntVar(&o.bodies, "bodies", 8, "large bodies at a time")
	flag.IntVar(&o.held, "held", 5000, "streams that are held open at a time")
	instead("plugins", "measure only what plugins do to requests", runPlugins)
	instead("storm", "measure requests beside a storm of questions about the log, and readiness while clients leave with large bodies", runStorm)
	instead("totals", "drive one key through three processes and compare every total with what the answers say, to the nanodollar", runTotals)
	flag.IntVar(&o.totalRate, "totalrate", 1000, "requests a second of each node with -totals")
	flag.DurationVar(&o.totalFor, "totalfor", 10*time.Minute, "how long -totals drives")
	instead("cluster", "measure what three processes do under faults, each figure beside what it is to be", runCluster)
	flag.StringVar(&o.only, "only", "", "figures of -cluster, by commas: confirm, fresh, transfer, failover, hang, roll, kept, commands, join, recover; all if empty")
	flag.IntVar(&o.pairs, "pairs", 10_000, "keys that -cluster makes on one node and uses at once on another")
	flag.IntVar(&o.commands, "commands", 1_000_000, "changes that -cluster makes one by one")
	flag.Parse()
	if o.scale > 0 {
		measure = runScale
	}
	return o, measure
}

// run measures and writes the report.
func run(ctx context.Context, o options, w io.Writer) error {
	rig, err := startRig(ctx, o)
	if err != nil {
		return err
	}
	defer rig.stop()
	fmt.Fprintf(w, "%s, %d CPUs, %s\n\n", cpuModel(), runtime.NumCPU(), runtime.Version())
	idle := rig.node.rss()
	chat := load{body: chatBody("demo", false), count: o.requests, conns: o.conns}
	stream := load{body: chatBody("demo", true), count: o.streams, conns: o.conns}
	messages := load{path: messagesPath, body: chatBody("claude", true), count: o.streams, conns: o.conns}
	report := []section{
		{"plain 1 kB chat, closed loop", chat, chat},
		{"50-chunk stream, closed loop", stream, stream},
		{"50-chunk stream, Anthropic's", messages, messages},
		{"50-chunk stream, OpenAI in, A. out", stream.to("claude"), messages},
		{fmt.Sprintf("plain 1 kB chat, open loop %d/s", o.rate), chat.every(o.rate, o.open), chat.every(o.rate, o.open)},
	}
	fmt.Fprintf(w, "%-34s %-8s %12s %9s %9s %9s %7s\n", "load", "through", "CPU/request", "p50", "p99", "req/s", "errors")
	for _, s := range report {
		if err := s.measure(ctx, rig, o.rounds, w); err != nil {
			return err
		}
	}
	if err := rig.reportMemory(ctx, idle, w); err != nil {
		return err
	}
	if err := rig.reportLarge(ctx, o, w); err != nil {
		return err
	}
	fmt.Fprintf(w, "ready after start: one node %s", rig.ready.Round(time.Millisecond))
	three, err := timeThree(ctx, o.conclave)
	if err != nil {
		return err
	}
	fmt.Fprintf(w, ", three nodes %s\n", three.Round(time.Millisecond))
	return nil
}

// section is one load, driven through the relay and the node in turns. Where the node translates,
// the relay is given what the upstream is to get.
type section struct {
	name       string
	node, bare load
}

func (s section) measure(ctx context.Context, r *rig, rounds int, w io.Writer) error {
	targets := []*target{r.direct, r.relay, r.node}
	results := make([][]result, len(targets))
	for round := range rounds + 1 {
		for i, t := range targets {
			l := s.bare
			if t == r.node {
				l = s.node
			}
			res, err := l.drive(ctx, t)
			if err != nil {
				return fmt.Errorf("%s through %s: %w", s.name, t.name, err)
			}
			if round > 0 { // the first warms up
				results[i] = append(results[i], res)
			}
		}
	}
	med := make([]result, len(targets))
	for i, t := range targets {
		med[i] = median(results[i])
		cpu := "-"
		if t.proc != nil {
			cpu = fmt.Sprintf("%.1f µs", med[i].cpu)
		}
		fmt.Fprintf(w, "%-34s %-8s %12s %9s %9s %9.0f %7d\n", s.name, t.name, cpu,
			med[i].p50.Round(time.Microsecond), med[i].p99.Round(time.Microsecond), med[i].rate, med[i].errors)
	}
	fmt.Fprintf(w, "%-34s %-8s %11.2fx %+9s\n", s.name, "ratio", ratio(results[2], results[1]),
		(med[2].p50 - med[1].p50).Round(time.Microsecond))
	return nil
}

// ratio is the median of the pairwise ratios of CPU per request.
func ratio(node, relay []result) float64 {
	pairs := make([]float64, len(node))
	for i := range node {
		pairs[i] = node[i].cpu / relay[i].cpu
	}
	return medianOf(pairs)
}

func mib(kb int64) string { return fmt.Sprintf("%.1f MiB", float64(kb)/1024) }

// chatBody is a chat request of about 1 kB, which is one in Anthropic's dialect too.
func chatBody(model string, stream bool) []byte {
	prompt := strings.Repeat("The quick brown fox jumps over the lazy dog. ", 20)
	extra := ""
	if stream {
		extra = `,"stream":true`
	}
	return []byte(`{"model":"` + model + `","max_tokens":64` + extra + `,"messages":[{"role":"user","content":"` + prompt + `"}]}`)
}

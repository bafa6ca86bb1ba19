package auditlog_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/raft" //nolint:depguard // plays the part of the consensus
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/fsm/audit"
	"github.com/conclave-llm/conclave/node/auditlog"
	"github.com/conclave-llm/conclave/resource"
)

// log is a state machine with a log of its own.
type log struct {
	t     *testing.T
	dir   string
	state *fsm.FSM
	key   *ecdsa.PrivateKey

	mu    sync.Mutex
	index uint64
	now   time.Time
	down  bool // nothing is proposed
}

func newLog(t *testing.T) *log {
	t.Helper()
	state, err := fsm.Open(fsm.Config{Dir: t.TempDir(), NodeID: "n1", BootID: "boot"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = state.Close() })
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return &log{t: t, dir: t.TempDir(), state: state, key: key, now: time.Now().Add(-48 * time.Hour)}
}

func (l *log) apply(by fsm.Actor, cmd fsm.Command) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.down {
		return resource.ErrNoLeader
	}
	l.index++
	env := fsm.Envelope{At: resource.At(l.now), Actor: by, ReadIndex: l.index - 1}
	binary.BigEndian.PutUint64(env.CommandID[:], l.index)
	b, err := fsm.Encode(env, cmd)
	if err != nil {
		return err
	}
	a, _ := l.state.Apply(&raft.Log{Index: l.index, Term: 1, Type: raft.LogCommand, Data: b}).(fsm.Applied)
	return a.Err
}

// teams makes n teams, one entry each, a minute apart.
func (l *log) teams(n int) {
	l.t.Helper()
	for range n {
		l.mu.Lock()
		l.now = l.now.Add(time.Minute)
		id := fmt.Sprintf("t%d", l.index)
		l.mu.Unlock()
		e, err := fsm.EncodedOf(resource.Team{Meta: resource.Meta{ID: id}, Name: id})
		if err == nil {
			err = l.apply(fsm.Actor{Kind: "master", Address: "10.0.0.1"}, fsm.PutTeam{Team: e})
		}
		if err != nil {
			l.t.Fatal(err)
		}
	}
}

// hours lets n hours pass, with sixty entries at the end of each.
func (l *log) hours(n int) {
	l.t.Helper()
	var c fsm.NoteEvents
	for i := range 60 {
		c.Events = append(c.Events, resource.AuditEvent{Action: "export", ID: strconv.Itoa(i)})
	}
	for range n {
		l.mu.Lock()
		l.now = l.now.Add(time.Hour)
		l.mu.Unlock()
		if err := l.apply(fsm.Actor{Kind: "node", ID: "n1"}, c); err != nil {
			l.t.Fatal(err)
		}
	}
}

// settings sets the setting audit.
func (l *log) settings(value string) {
	l.t.Helper()
	var read uint64
	for _, s := range l.state.Catalog().Tables().Settings {
		read = s.Version
	}
	e, err := fsm.EncodedOf(resource.Setting{Meta: resource.Meta{ID: "audit"}, Value: json.RawMessage(value)})
	if err == nil {
		err = l.apply(fsm.Actor{Kind: "master"}, fsm.PutSetting{Setting: e, Read: read})
	}
	if err != nil {
		l.t.Fatal(err)
	}
}

func (l *log) config() auditlog.Config {
	return auditlog.Config{
		State: l.state, Dir: l.dir, Leads: func() bool { return true },
		Propose: func(_ context.Context, cmd fsm.Command) error { return l.apply(fsm.Actor{Kind: "node", ID: "n1"}, cmd) },
		Sign:    func(a *resource.AuditAnchor) error { return audit.Sign(a, l.key) },
	}
}

// keep runs a keeper until the condition holds.
func (l *log) keep(cfg auditlog.Config, until func() bool) {
	l.t.Helper()
	ctx, cancel := context.WithCancel(l.t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { auditlog.NewKeeper(cfg).Run(ctx) })
	await(l.t, until)
	cancel()
	wg.Wait()
}

func await(t *testing.T, until func() bool) {
	t.Helper()
	deadline := time.NewTimer(20 * time.Second)
	defer deadline.Stop()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !until() {
		select {
		case <-deadline.C:
			t.Fatal("it does not come")
		case <-tick.C:
		}
	}
}

func (l *log) mark(sink string) uint64 { return l.state.AuditExtent().Sinks[sink] }

func TestKeeper_File(t *testing.T) {
	t.Parallel()
	l := newLog(t)
	l.settings(`{"sinks":[{"kind":"file","path":"audit.jsonl"}]}`)
	l.teams(450)
	l.keep(l.config(), func() bool { return l.mark("file") == 451 })
	path := filepath.Join(l.dir, "audit.jsonl")
	cut, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0o600)
	if err == nil {
		_, err = cut.WriteString(`{"number":452,"ind`)
		err = errors.Join(err, cut.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
	l.teams(2)
	l.keep(l.config(), func() bool { return l.mark("file") == 453 })
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	v, err := (&audit.Verifier{}).Verify(bytes.NewReader(b))
	if err != nil || v.Entries != 453 || v.First != 1 {
		t.Errorf("got %+v (%v)", v, err)
	}
	l.settings(`{"sinks":[]}`)
	l.keep(l.config(), func() bool { return l.mark("file") == 0 })
}

// TestKeeper_Again loses the mark of a delivery: the entries come again, and none is lost.
func TestKeeper_Again(t *testing.T) {
	t.Parallel()
	l := newLog(t)
	l.settings(`{"sinks":[{"kind":"callback","callback":"c"}]}`)
	l.teams(5)
	var mu sync.Mutex
	got := map[uint64]int{}
	cfg := l.config()
	cfg.Callback = func(_ context.Context, name string, entries []resource.AuditEntry) (int, error) {
		mu.Lock()
		defer mu.Unlock()
		if name != "c" {
			return 0, errors.New("who?")
		}
		for _, e := range entries[:2] {
			got[e.Number]++
		}
		l.mu.Lock()
		l.down = got[1] == 1
		l.mu.Unlock()
		return 2, nil
	}
	calls := func() bool {
		mu.Lock()
		defer mu.Unlock()
		return got[2] > 0
	}
	l.keep(cfg, calls)
	if m := l.mark("callback"); m != 0 {
		t.Fatalf("got mark %d, want none", m)
	}
	l.down = false
	l.keep(cfg, func() bool { return l.mark("callback") == 6 })
	for n := uint64(1); n <= 6; n++ {
		if got[n] == 0 {
			t.Errorf("entry %d was not delivered", n)
		}
	}
	if got[1] < 2 {
		t.Error("the first delivery was not repeated")
	}
}

// receiver is a syslog server on TCP that can break its connections.
type receiver struct {
	l    net.Listener
	mu   sync.Mutex
	got  []string
	conn net.Conn
	cuts int // connections that it still breaks, after a message
}

func receive(t *testing.T) *receiver {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &receiver{l: ln}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			r.mu.Lock()
			r.conn = c
			r.mu.Unlock()
			wg.Go(func() { r.read(c) })
		}
	})
	t.Cleanup(func() {
		_ = ln.Close()
		r.cut()
		wg.Wait()
	})
	return r
}

// read reads messages with octet counting.
func (r *receiver) read(c net.Conn) {
	in := bufio.NewReader(c)
	for {
		size, err := in.ReadString(' ')
		if err != nil {
			return
		}
		n, err := strconv.Atoi(strings.TrimSuffix(size, " "))
		if err != nil {
			return
		}
		msg := make([]byte, n)
		if _, err := io.ReadFull(in, msg); err != nil {
			return
		}
		r.mu.Lock()
		r.got = append(r.got, string(msg))
		cut := r.cuts > 0
		if cut {
			r.cuts--
			_ = c.Close()
		}
		r.mu.Unlock()
	}
}

func (r *receiver) cut() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.conn != nil {
		_ = r.conn.Close()
	}
}

func (r *receiver) has(number int) bool { return r.times(number) > 0 }

// times is how often an entry has come.
func (r *receiver) times(number int) (n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, m := range r.got {
		if strings.Contains(m, fmt.Sprintf(`[audit@32473 number="%d"`, number)) {
			n++
		}
	}
	return n
}

func TestKeeper_Syslog(t *testing.T) {
	t.Parallel()
	l := newLog(t)
	r := receive(t)
	l.settings(`{"sinks":[{"name":"siem","kind":"syslog","address":"tcp://` + r.l.Addr().String() + `","facility":"local0"}]}`)
	l.teams(3)
	err := l.apply(fsm.Actor{Kind: "node", ID: "n1"}, fsm.NoteEvents{Events: []resource.AuditEvent{{Action: "sign_in", Outcome: "failed", ID: `a"]\`}}})
	if err != nil {
		t.Fatal(err)
	}
	l.keep(l.config(), func() bool { return l.mark("siem") == 5 && r.has(5) })
	want := `<133>1 ` // local0, notice
	if !strings.HasPrefix(r.got[1], want) || !strings.Contains(r.got[1], ` conclave - put_team [audit@32473 number="2" `) || !strings.Contains(r.got[1], ` address="10.0.0.1" `) {
		t.Errorf("got %s", r.got[1])
	}
	if m := r.got[4]; !strings.HasPrefix(m, "<132>1 ") || !strings.Contains(m, ` id="a\"\]\\" outcome="failed"`) {
		t.Errorf("got %s", m)
	}
	_, body, _ := strings.Cut(r.got[1], "] ")
	var e resource.AuditEntry
	if err := json.Unmarshal([]byte(body), &e); err != nil || e.Number != 2 || e.Hash == (resource.Hash{}) {
		t.Errorf("got %s (%v)", body, err)
	}
}

// TestKeeper_SyslogCut breaks the connection between deliveries.
func TestKeeper_SyslogCut(t *testing.T) {
	t.Parallel()
	l := newLog(t)
	r := receive(t)
	l.settings(`{"sinks":[{"name":"siem","kind":"syslog","address":"tcp://` + r.l.Addr().String() + `"}]}`)
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { auditlog.NewKeeper(l.config()).Run(ctx) })
	await(t, func() bool { return r.has(1) })
	r.cut()
	l.teams(1)
	await(t, func() bool { return r.has(2) })
	cancel()
	wg.Wait()
}

// TestKeeper_SyslogUnsure: what was written before the receiver went counts as delivered only when it was sent again, though nothing
// comes behind it.
func TestKeeper_SyslogUnsure(t *testing.T) {
	t.Parallel()
	l := newLog(t)
	r := receive(t)
	r.cuts = 2
	l.settings(`{"sinks":[{"name":"siem","kind":"syslog","address":"tcp://` + r.l.Addr().String() + `"}]}`)
	l.keep(l.config(), func() bool { return l.mark("siem") == 1 })
	if n := r.times(1); n < 3 {
		t.Errorf("it came %d times, the last two connections broke after it", n)
	}
}

func TestKeeper_SyslogDatagrams(t *testing.T) {
	t.Parallel()
	for _, network := range []string{"udp", "unixgram"} {
		t.Run(network, func(t *testing.T) {
			t.Parallel()
			l := newLog(t)
			address, url := "127.0.0.1:0", ""
			if network == "unixgram" {
				dir, err := os.MkdirTemp("", "q")
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { _ = os.RemoveAll(dir) })
				address = filepath.Join(dir, "s")
				url = "unix://" + address
			}
			c, err := net.ListenPacket(network, address)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = c.Close() })
			if url == "" {
				url = "udp://" + c.LocalAddr().String()
			}
			l.settings(`{"sinks":[{"kind":"syslog","address":"` + url + `"}]}`)
			l.keep(l.config(), func() bool { return l.mark("syslog") == 1 })
			buf := make([]byte, 1<<16)
			n, _, err := c.ReadFrom(buf)
			if err != nil || !strings.HasPrefix(string(buf[:n]), "<109>1 ") { // log_audit, notice
				t.Errorf("got %s (%v)", buf[:n], err)
			}
		})
	}
}

func TestKeeper_Prune(t *testing.T) {
	t.Parallel()
	l := newLog(t)
	begin := l.now
	l.settings(`{"retention":"10h"}`)
	l.hours(40)
	k := auditlog.NewKeeper(l.config())
	extent := func() (uint64, uint64) {
		x := l.state.AuditExtent()
		return x.First, x.Last
	}
	if err := k.Prune(t.Context(), begin.Add(5*time.Hour)); err != nil {
		t.Fatal(err)
	}
	if first, _ := extent(); first != 1 {
		t.Errorf("young entries: got first %d, want 1", first)
	}
	if err := k.Prune(t.Context(), begin.Add(40*time.Hour)); err != nil {
		t.Fatal(err)
	}
	first, last := extent() // the setting's entry and those of 29 hours are gone, in two steps
	if first != 1742 || last != 2403 {
		t.Errorf("got %d to %d, want 1742 to 2403", first, last)
	}
	a := l.state.AuditExtent().Anchor
	if a == nil || a.Number != 1741 {
		t.Fatalf("got anchor %+v", a)
	}
	if err := k.Prune(t.Context(), begin.Add(40*time.Hour+30*time.Minute)); err != nil {
		t.Fatal(err)
	}
	if first, _ := extent(); first != 1742 {
		t.Errorf("within the slack: got first %d, want 1742", first)
	}
	if err := k.Prune(t.Context(), begin.Add(2000*time.Hour)); err != nil {
		t.Fatal(err)
	}
	if first, last := extent(); last-first > 1 {
		t.Errorf("all are old: got %d to %d, want the newest", first, last)
	}
}

// TestKeeper_PruneUndelivered keeps what a sink lacks for twice the retention.
func TestKeeper_PruneUndelivered(t *testing.T) {
	t.Parallel()
	l := newLog(t)
	begin := l.now
	l.settings(`{"retention":"10h","sinks":[{"kind":"file","path":"x"}]}`)
	l.hours(10)
	k := auditlog.NewKeeper(l.config())
	for _, tt := range []struct {
		after time.Duration
		want  uint64
	}{{15 * time.Hour, 1}, {23*time.Hour + time.Minute, 182}} {
		if err := k.Prune(t.Context(), begin.Add(tt.after)); err != nil {
			t.Fatal(err)
		}
		if got := l.state.AuditExtent().First; got != tt.want {
			t.Errorf("after %v: got first %d, want %d", tt.after, got, tt.want)
		}
	}
}

// TestKeeper_Behind tells of what a sink lacks, and of what it will never get.
func TestKeeper_Behind(t *testing.T) {
	t.Parallel()
	l := newLog(t)
	begin := l.now
	l.settings(`{"retention":"10h","sinks":[{"kind":"file","path":"x"}]}`)
	l.hours(10)
	cfg, registry := l.config(), prometheus.NewRegistry()
	cfg.Registerer = registry
	k := auditlog.NewKeeper(cfg)
	got := k.Behind()
	if len(got) != 1 || got[0].Sink != "file" || got[0].Waiting != 601 || got[0].Dropped != 0 || got[0].Since != resource.At(begin) {
		t.Fatalf("before: got %+v", got)
	}
	if err := k.Prune(t.Context(), begin.Add(23*time.Hour+time.Minute)); err != nil {
		t.Fatal(err)
	}
	got = k.Behind()
	x := l.state.AuditExtent()
	if len(got) != 1 || got[0].Dropped != 181 || got[0].Waiting != x.Last-181 || got[0].DroppedAt == 0 {
		t.Errorf("after 181 were pruned: got %+v of %+v", got, x)
	}
	if n, err := testutil.GatherAndCount(registry, "conclave_audit_dropped_total"); err != nil || n != 1 {
		t.Errorf("got %d counters, %v", n, err)
	}
	l.keep(l.config(), func() bool { return l.state.AuditExtent().Sinks["file"] == l.state.AuditExtent().Last })
	if got := k.Behind(); len(got) != 1 || got[0].Waiting != 0 || got[0].Dropped != 181 {
		t.Errorf("after the delivery: got %+v", got)
	}
}

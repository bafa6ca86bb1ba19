package gate

import (
	"bytes"
	"errors"
	"io"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/raft"
)

// other is a node that refuses what comes to it while it is away.
type other struct {
	*raft.NetworkTransport
	away atomic.Bool
	got  chan *raft.AppendEntriesRequest // what is no heartbeat
}

func listen(t *testing.T) *raft.NetworkTransport {
	t.Helper()
	n, err := raft.NewTCPTransport("127.0.0.1:0", nil, 2, 5*time.Second, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = n.Close() })
	return n
}

func newOther(t *testing.T) *other {
	t.Helper()
	o := &other{NetworkTransport: listen(t), got: make(chan *raft.AppendEntriesRequest, 8)}
	end := make(chan struct{})
	done := make(chan struct{})
	t.Cleanup(func() { close(end); <-done })
	go func() {
		defer close(done)
		for {
			select {
			case <-end:
				return
			case rpc := <-o.Consumer():
				o.answer(rpc)
			}
		}
	}()
	return o
}

func (o *other) answer(rpc raft.RPC) {
	if o.away.Load() {
		rpc.Respond(nil, errors.New("away"))
		return
	}
	switch req := rpc.Command.(type) {
	case *raft.AppendEntriesRequest:
		if !heartbeat(req) {
			o.got <- req
		}
		rpc.Respond(&raft.AppendEntriesResponse{Success: true}, nil)
	case *raft.InstallSnapshotRequest:
		_, _ = io.Copy(io.Discard, rpc.Reader)
		rpc.Respond(&raft.InstallSnapshotResponse{Success: true}, nil)
	}
}

// What a leader sends to a node that is silent waits for its next heartbeat that is answered, and no longer than
// there is somebody who sends it.
func TestTransport_awaitsTheSilent(t *testing.T) {
	t.Parallel()
	g, _, _ := fakeGate()
	o := newOther(t)
	tr := NewTransport(listen(t), g, disk{})
	t.Cleanup(func() { _ = tr.Close() })
	var leads atomic.Bool
	leads.Store(true)
	looks := make(chan struct{}, 64)
	tr.Know(Raft{Applied: func() uint64 { return 0 }, Sends: func(term uint64, to raft.ServerID) bool {
		looks <- struct{}{}
		return leads.Load() && term == 7 && to == "b"
	}})
	beat := func() error {
		return tr.AppendEntries("b", o.LocalAddr(), &raft.AppendEntriesRequest{RPCHeader: raft.RPCHeader{Addr: []byte("a")}, Term: 7}, &raft.AppendEntriesResponse{})
	}
	append1 := func() <-chan error {
		done := make(chan error, 1)
		go func() {
			done <- tr.AppendEntries("b", o.LocalAddr(), &raft.AppendEntriesRequest{Term: 7, PrevLogEntry: 1, PrevLogTerm: 1}, &raft.AppendEntriesResponse{})
		}()
		return done
	}
	waits := func(done <-chan error) {
		t.Helper()
		for range 2 {
			select {
			case <-looks:
			case err := <-done:
				t.Fatalf("it did not wait: %v", err)
			}
		}
	}
	if err := <-append1(); err != nil { // nobody is silent
		t.Fatal(err)
	}
	o.away.Store(true)
	if beat() == nil {
		t.Fatal("a node that is away answered")
	}
	first := append1()
	waits(first)
	o.away.Store(false)
	if err := beat(); err != nil {
		t.Fatal(err)
	}
	if err := <-first; err != nil || len(o.got) != 2 {
		t.Errorf("after an answered heartbeat: %v, %d messages", err, len(o.got))
	}

	o.away.Store(true)
	if beat() == nil {
		t.Fatal("a node that is away answered")
	}
	snapshot := make(chan error, 1)
	go func() {
		body := bytes.NewReader([]byte("state"))
		snapshot <- tr.InstallSnapshot("b", o.LocalAddr(), &raft.InstallSnapshotRequest{Term: 7, Size: 5}, &raft.InstallSnapshotResponse{}, body)
	}()
	waits(snapshot)
	second := append1()
	leads.Store(false) // its leadership ends
	if err := <-second; err == nil {
		t.Error("a node that is away took entries")
	}
	if err := <-snapshot; !errors.Is(err, errAway) {
		t.Errorf("a snapshot that waited: got %v, want %v", err, errAway)
	}
}

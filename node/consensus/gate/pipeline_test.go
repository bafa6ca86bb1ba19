package gate

import (
	"testing"
	"time"

	"github.com/hashicorp/raft"
)

// narrowPipeline has room for one answer, as raft's has for a few.
type narrowPipeline struct{ done chan raft.AppendFuture }

func (p *narrowPipeline) AppendEntries(*raft.AppendEntriesRequest, *raft.AppendEntriesResponse) (raft.AppendFuture, error) {
	p.done <- nil
	return nil, nil
}
func (p *narrowPipeline) Consumer() <-chan raft.AppendFuture { return p.done }
func (p *narrowPipeline) Close() error                       { return nil }

func TestPipeline_neverBlocksItsSender(t *testing.T) {
	t.Parallel()
	g, now, _ := fakeGate()
	p := newPipeline(&narrowPipeline{done: make(chan raft.AppendFuture)}, g)
	for range 10 { // nobody reads
		if _, err := p.AppendEntries(&raft.AppendEntriesRequest{}, nil); err != nil {
			t.Fatal(err)
		}
	}
	for range 10 {
		<-p.Consumer()
	}
	g.Begin()
	now.Add(int64(time.Minute))
	if _, err := p.AppendEntries(&raft.AppendEntriesRequest{}, nil); err == nil {
		t.Error("a stalled node appends")
	}
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	if err := p.Close(); err != nil {
		t.Error(err)
	}
}

package plugintest

import (
	"cmp"
	"os"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/conclave-llm/conclave/plugins/contract"
)

// talk is a kind whose questions and answers are messages of one session: what is said and not what is
// meant. Q and P are its messages.
type talk[Q, P any] struct {
	// open configures a fresh plugin for a host of the minor, with a field that nobody knows if newer is
	// set, and opens a session.
	open     func(t *testing.T, minor uint32, newer bool) (s grpc.BidiStreamingClient[Q, P], sdkMinor uint32)
	question func(id uint64) *Q // that is answered without an error
	ping     func(id uint64) *Q
	cancel   func(id uint64) *Q
	unknown  func(id uint64) *Q
	message  func(*Q) proto.Message
	answer   func(*P) (id uint64, err string)
}

func (k *talk[Q, P]) checks() []check {
	return []check{
		{"says which contract it was built against", k.minor},
		{"serves a newer host", func(t *testing.T) {
			s, _ := k.open(t, contract.Minor+90, false)
			k.exchange(t, s, k.question(1))
		}},
		{"passes over fields that it does not know", k.newFields},
		{"answers a message that it does not know", k.newMessage},
		{"answers a sign of life", func(t *testing.T) {
			s, _ := k.open(t, contract.Minor, false)
			k.exchange(t, s, k.ping(3))
		}},
		{"answers each question once", k.once},
		{"answers within a second", k.punctual},
		{"passes over a cancellation of nothing", k.cancelNothing},
		{"lives through questions that are taken back", k.takenBack},
		{"lives through a flood of questions", k.flood},
		{"ends a session that the host ends", k.hangUp},
	}
}

// exchange sends questions and sees that each is answered once, without an error.
func (k *talk[Q, P]) exchange(t *testing.T, s grpc.BidiStreamingClient[Q, P], qs ...*Q) {
	t.Helper()
	var sending sync.WaitGroup
	sending.Go(func() {
		for _, q := range qs {
			if err := s.Send(q); err != nil {
				t.Error(err)
				return
			}
		}
	})
	got := map[uint64]bool{}
	for range qs {
		m, err := s.Recv()
		if err != nil {
			t.Fatal(err)
		}
		id, failed := k.answer(m)
		if failed != "" || got[id] {
			t.Errorf("message %d: answered before: %t, error %q", id, got[id], failed)
		}
		got[id] = true
	}
	sending.Wait()
}

func (k *talk[Q, P]) minor(t *testing.T) {
	if _, m := k.open(t, contract.Minor, false); m < contract.MinorHooks {
		t.Errorf("minor %d has no plugins of this kind: they came with %d", m, contract.MinorHooks)
	}
}

func (k *talk[Q, P]) newFields(t *testing.T) {
	s, _ := k.open(t, contract.Minor, true)
	q := k.question(1)
	k.message(q).ProtoReflect().SetUnknown(unknownField)
	k.exchange(t, s, q)
}

func (k *talk[Q, P]) newMessage(t *testing.T) {
	s, _ := k.open(t, contract.Minor, false)
	if err := s.Send(k.unknown(7)); err != nil {
		t.Fatal(err)
	}
	m, err := s.Recv()
	if err != nil {
		t.Fatal(err)
	}
	if id, failed := k.answer(m); id != 7 || failed == "" {
		t.Errorf("answer to %d without an error: it would count as one", id)
	}
	k.exchange(t, s, k.question(8))
}

func (k *talk[Q, P]) once(t *testing.T) {
	s, _ := k.open(t, contract.Minor, false)
	var qs []*Q
	for id := range uint64(100) {
		qs = append(qs, k.question(id*3+1))
	}
	k.exchange(t, s, qs...)
	k.exchange(t, s, k.ping(1000))
}

func (k *talk[Q, P]) punctual(t *testing.T) {
	s, _ := k.open(t, contract.Minor, false)
	k.exchange(t, s, k.question(1)) // what happens at the first one only does not count
	id := uint64(1)
	quick(t, "an answer", time.Second, func() {
		id++
		k.exchange(t, s, k.question(id))
	})
}

func (k *talk[Q, P]) cancelNothing(t *testing.T) {
	s, _ := k.open(t, contract.Minor, false)
	if err := s.Send(k.cancel(4711)); err != nil {
		t.Fatal(err)
	}
	k.exchange(t, s, k.question(1))
}

// takenBack gives up a thousand questions; they may or may not be answered.
func (k *talk[Q, P]) takenBack(t *testing.T) {
	s, _ := k.open(t, contract.Minor, false)
	var sending sync.WaitGroup
	const last = 1000
	sending.Go(func() {
		for id := range uint64(last) {
			if err := s.Send(k.question(id + 1)); err == nil {
				_ = s.Send(k.cancel(id + 1)) // a session that has ended shows in Recv
			}
		}
		_ = s.Send(k.question(last + 1))
	})
	for {
		m, err := s.Recv()
		if err != nil {
			t.Fatal(err)
		}
		if id, failed := k.answer(m); id == last+1 {
			if failed != "" {
				t.Errorf("afterwards: %s", failed)
			}
			break
		}
	}
	sending.Wait()
}

func (k *talk[Q, P]) flood(t *testing.T) {
	s, _ := k.open(t, contract.Minor, false)
	qs := make([]*Q, 2000)
	for i := range qs {
		qs[i] = k.question(uint64(i) + 1)
	}
	k.exchange(t, s, qs...)
}

func (k *talk[Q, P]) hangUp(t *testing.T) {
	s, _ := k.open(t, contract.Minor, false)
	k.exchange(t, s, k.question(1))
	if err := s.CloseSend(); err != nil {
		t.Fatal(err)
	}
	if m, err := s.Recv(); err == nil {
		t.Errorf("got %v behind the end", m)
	} else if status.Code(err) == codes.DeadlineExceeded {
		t.Error("the session does not end")
	}
}

// processChecks are those of a process while it works.
func (k *talk[Q, P]) processChecks(from *launched) []check {
	work := func(t *testing.T, s grpc.BidiStreamingClient[Q, P], rounds int) {
		for range rounds {
			qs := make([]*Q, 100)
			for i := range qs {
				qs[i] = k.question(uint64(i) + 1)
			}
			k.exchange(t, s, qs...)
		}
	}
	return []check{
		{"stays within its memory", func(t *testing.T) {
			s, _ := k.open(t, contract.Minor, false)
			work(t, s, 20)
			limit := cmp.Or(from.MemoryLimit, int64(defaultMemory))
			if rss, _ := usage(t, from.last.pid()); rss > limit {
				t.Errorf("%d bytes of memory, more than %d: a node would kill it", rss, limit)
			}
		}},
		{"does not grow", func(t *testing.T) {
			s, _ := k.open(t, contract.Minor, false)
			work(t, s, 20)
			before, _ := usage(t, from.last.pid())
			work(t, s, 60)
			if after, _ := usage(t, from.last.pid()); after > before+before/2+(16<<20) {
				t.Errorf("it has grown from %d to %d bytes with three times the work", before, after)
			}
		}},
		{"does not keep descriptors", func(t *testing.T) {
			s, _ := k.open(t, contract.Minor, false)
			work(t, s, 1)
			_, before := usage(t, from.last.pid())
			work(t, s, 10)
			if _, after := usage(t, from.last.pid()); after > before+8 { // connections to a service stay open
				t.Errorf("%d descriptors are open, before it were %d", after, before)
			}
		}},
		{"fails what is under way when it is killed", func(t *testing.T) {
			s, _ := k.open(t, contract.Minor, false)
			k.exchange(t, s, k.question(1))
			p, err := os.FindProcess(from.last.pid())
			if err == nil {
				err = p.Kill()
			}
			if err != nil {
				t.Fatal(err)
			}
			if m, err := s.Recv(); err == nil {
				t.Errorf("a process that was killed says %v", m)
			}
		}},
	}
}

package node

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"log/slog"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// pipePort is a cluster port whose connections are pipes to itself.
type pipePort struct {
	accepted chan net.Conn
	done     chan struct{}
	once     sync.Once

	mu    sync.Mutex // guards dials, down
	dials []string
	down  bool
}

func newPipePort() *pipePort {
	return &pipePort{accepted: make(chan net.Conn, 16), done: make(chan struct{})}
}

func (p *pipePort) Listener(string) net.Listener { return p }
func (p *pipePort) PeerID(net.Conn) string       { return "peer" }
func (p *pipePort) Addr() net.Addr               { return nil }

func (p *pipePort) Accept() (net.Conn, error) {
	select {
	case c := <-p.accepted:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p *pipePort) Close() error {
	p.once.Do(func() { close(p.done) })
	return nil
}

func (p *pipePort) Dial(_ context.Context, addr, _ string) (net.Conn, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.dials = append(p.dials, addr)
	if p.down {
		return nil, errors.New("down")
	}
	a, b := net.Pipe()
	p.accepted <- b
	return a, nil
}

func (p *pipePort) setDown(down bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.down = down
}

func (p *pipePort) count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.dials)
}

func toEveryone(id string) (string, bool) { return "addr-" + id, true }

func TestQuota_delivers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var got []string
		var mu sync.Mutex
		p := newPipePort()
		q := startQuota(p, toEveryone, func(from string, frame []byte) {
			mu.Lock()
			defer mu.Unlock()
			got = append(got, from+":"+string(frame))
		}, slog.New(slog.DiscardHandler))
		for _, f := range []string{"a", "", "ccc"} {
			q.Send("n2", []byte(f))
			synctest.Wait()
		}
		q.stop()
		q.Send("n2", []byte("late")) // after the stop: no goroutine, no frame
		if len(got) != 3 || got[0] != "peer:a" || got[1] != "peer:" || got[2] != "peer:ccc" {
			t.Errorf("got %q", got)
		}
		if p.count() != 1 {
			t.Errorf("dialed %d times, want once", p.count())
		}
	})
}

func TestQuota_neverBlocksAndRecovers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		frames := make(chan string, 100)
		p := newPipePort()
		p.setDown(true)
		q := startQuota(p, toEveryone, func(_ string, frame []byte) { frames <- string(frame) }, slog.New(slog.DiscardHandler))
		defer q.stop()
		for range 1000 {
			q.Send("n2", []byte("old"))
		}
		synctest.Wait()
		time.Sleep(time.Second) // the bubble's clock
		if n := p.count(); n == 0 || n > 6 {
			t.Errorf("dialed %d times in a second, want a try each %s", n, quotaRedial)
		}
		p.setDown(false)
		time.Sleep(time.Second)
		for len(frames) > 0 {
			<-frames
		}
		q.Send("n2", []byte("new"))
		synctest.Wait()
		if got := <-frames; got != "new" {
			t.Errorf("got %q after the peer came back", got)
		}
	})
}

func TestQuota_slowReaderIsCutOff(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newPipePort()
		release := make(chan struct{})
		q := startQuota(p, toEveryone, func(string, []byte) { <-release }, slog.New(slog.DiscardHandler))
		for range 3 {
			q.Send("n2", []byte("x"))
			synctest.Wait()
		}
		time.Sleep(2 * quotaWrite) // the second write runs into its deadline
		q.Send("n2", []byte("y"))
		synctest.Wait()
		if p.count() < 2 {
			t.Error("the stream to a peer that does not read was kept")
		}
		close(release)
		q.stop()
	})
}

func TestQuota_forgetsMembersThatLeft(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newPipePort()
		q := startQuota(p, func(string) (string, bool) { return "", false }, func(string, []byte) {}, slog.New(slog.DiscardHandler))
		q.Send("gone", []byte("x"))
		synctest.Wait()
		q.mu.Lock()
		left := len(q.peers)
		q.mu.Unlock()
		if left != 0 || p.count() != 0 {
			t.Errorf("%d peers left, %d dials; want none", left, p.count())
		}
		q.stop()
	})
}

func TestQuota_badFrameEndsTheStreamOnly(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		frames := make(chan string, 10)
		p := newPipePort()
		q := startQuota(p, toEveryone, func(_ string, frame []byte) { frames <- string(frame) }, slog.New(slog.DiscardHandler))
		mine, theirs := net.Pipe()
		p.accepted <- theirs
		if _, err := mine.Write([]byte{0xff, 0xff, 0xff, 0xff}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if _, err := mine.Write([]byte("more")); err == nil {
			t.Error("the stream is still open after a frame of 4 GiB")
		}
		q.Send("n2", []byte("fine"))
		synctest.Wait()
		if got := <-frames; got != "fine" {
			t.Errorf("got %q", got)
		}
		q.stop()
	})
}

func FuzzReadFrame(f *testing.F) {
	f.Add([]byte{0, 0, 0, 1, 'x'})
	f.Add([]byte{0, 0, 0, 0})
	f.Add([]byte{0, 0, 0, 9, 'x'})
	f.Add([]byte{0xff, 0xff, 0xff, 0xff})
	f.Add([]byte{0, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		frame, err := readFrame(bytes.NewReader(b))
		if err != nil {
			return
		}
		if len(frame) > maxQuotaFrame || len(b) < 4+len(frame) || int(binary.BigEndian.Uint32(b)) != len(frame) || !bytes.Equal(frame, b[4:4+len(frame)]) {
			t.Errorf("%x gives a frame of %d bytes", b, len(frame))
		}
	})
}

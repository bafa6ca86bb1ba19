package gossip

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestFrame(t *testing.T) {
	t.Parallel()
	want := frame{7, 1, 2, "node", []byte("payload")}
	b := want.encode()
	golden := append([]byte{1, 7, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2, 4}, "nodepayload"...)
	if !bytes.Equal(b, golden) {
		t.Errorf("encode = %v, want %v", b, golden)
	}
	got, err := decode(b)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(frame{})); diff != "" {
		t.Errorf("decode (-want +got):\n%s", diff)
	}
}

func TestFrames_NewestWins(t *testing.T) {
	t.Parallel()
	fs := newFrames("me", 1)
	fs.expect("a", 5)
	fs.expect("b", 1)
	accepts := func(node string, topic byte, epoch, seq uint64) bool {
		f := frame{topic, epoch, seq, node, nil}
		return fs.accept(f, f.encode())
	}
	for _, tt := range []struct {
		name       string
		node       string
		topic      byte
		epoch, seq uint64
		want       bool
	}{
		{"first", "a", 1, 5, 10, true},
		{"again", "a", 1, 5, 10, false},
		{"older", "a", 1, 5, 9, false},
		{"newer", "a", 1, 5, 11, true},
		{"another topic", "a", 2, 5, 1, true},
		{"another node", "b", 1, 1, 1, true},
		{"older epoch", "a", 1, 4, 100, false},
		{"newer epoch", "a", 1, 6, 100, false},
		{"its own, back again", "me", 1, 1, 9, false},
		{"nobody's", "c", 1, 1, 1, false},
	} {
		if got := accepts(tt.node, tt.topic, tt.epoch, tt.seq); got != tt.want {
			t.Errorf("%s: accept = %t, want %t", tt.name, got, tt.want)
		}
	}
	fs.forget("a")
	if accepts("a", 1, 5, 12) {
		t.Error("a dead node is heard")
	}
	fs.expect("a", 2) // it comes back with its clock behind
	if accepts("a", 1, 5, 13) || !accepts("a", 1, 2, 1) {
		t.Error("a restarted node is not heard, or its dead process is")
	}
	all, err := split(fs.all(maxState))
	if err != nil || len(all) != 2 {
		t.Errorf("all = %d frames, %v, want those of a and b", len(all), err)
	}
	if got := fs.all(30); len(got) > 30 {
		t.Errorf("all(30) = %d bytes", len(got))
	}
}

func TestInbox_DropsTheOldest(t *testing.T) {
	t.Parallel()
	in := newInbox(newMetrics(nil))
	for i := range maxQueued + 3 {
		in.put([]byte{byte(i)})
	}
	in.leave("a")
	in.leave("a")
	frames, gone := in.take()
	if len(frames) != maxQueued || frames[0][0] != 3 || len(gone) != 1 {
		t.Errorf("take = %d frames from %d, gone %v", len(frames), frames[0][0], gone)
	}
}

// TestLogWriter writes what memberlist says at the level that it has here, and what it says again and again once.
func TestLogWriter(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	w := newLogWriter(slog.New(slog.NewTextHandler(&out, nil)))
	now := time.Unix(1_800_000_000, 0)
	w.now = func() time.Time { return now }
	say := func(line string) {
		t.Helper()
		if _, err := w.Write([]byte(line)); err != nil {
			t.Fatal(err)
		}
	}
	for _, line := range []string{
		"2026/01/02 03:04:05 [WARN] memberlist: refuting a suspect message\n",
		"2026/01/02 03:04:05 [DEBUG] memberlist: not shown\n",
		"[ERR] Failed to shutdown\n",
	} {
		say(line)
	}
	got := out.String()
	for _, want := range []string{`level=INFO msg=memberlist text="refuting a suspect message"`, `level=WARN msg=memberlist text="Failed to shutdown"`} {
		if !strings.Contains(got, want) {
			t.Errorf("log lacks %s:\n%s", want, got)
		}
	}
	if strings.Contains(got, "not shown") {
		t.Errorf("log has a debug line:\n%s", got)
	}

	out.Reset()
	for i := range 1000 { // three hours without the peer
		say(fmt.Sprintf("[ERR] memberlist: Push/Pull with b failed: dial tcp 10.0.0.1:%d: i/o timeout\n", i))
		say("[WARN] memberlist: Was able to connect to b over TCP but UDP probes failed, network may be misconfigured\n")
		say(fmt.Sprintf("[ERR] memberlist: Decrypt packet failed: no key from=10.0.0.9:%d\n", i))
		now = now.Add(10 * time.Second)
	}
	say("[ERR] memberlist: Push/Pull with c failed: i/o timeout\n")
	now = now.Add(logPause)
	say("[ERR] memberlist: Push/Pull with b failed: i/o timeout\n")
	if got := strings.Count(out.String(), "\n"); got != 5 {
		t.Errorf("%d lines, want one of each kind and peer, and one after the pause:\n%s", got, out.String())
	}
	for i := range 10 * logKinds {
		say(fmt.Sprintf("[ERR] memberlist: discarding packet with unacceptable label %d\n", i))
	}
	if len(w.last) > logKinds {
		t.Errorf("%d kinds are remembered, want %d at most", len(w.last), logKinds)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add((&frame{7, 1, 2, "node", []byte("payload")}).encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		fr, err := decode(b)
		if err == nil && !bytes.Equal(fr.encode(), b) {
			t.Errorf("%x does not survive decoding and encoding", b)
		}
	})
}

func FuzzSplit(f *testing.F) {
	fs := newFrames("me", 1)
	fs.next(1, []byte("x"))
	f.Add(fs.all(maxState))
	f.Fuzz(func(t *testing.T, b []byte) {
		all, err := split(b)
		n := 0
		for _, fr := range all {
			n += 2 + len(fr)
		}
		if err == nil && n != len(b) {
			t.Errorf("split %x into %d bytes", b, n)
		}
	})
}

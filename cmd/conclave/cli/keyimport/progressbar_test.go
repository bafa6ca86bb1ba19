package keyimport

import (
	"bytes"
	"testing"
	"time"
)

func TestProgressBar(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	now := time.Unix(0, 0)
	p := newProgressBar(&b)
	p.now, p.start, p.last = func() time.Time { return now }, now, now
	p.show(0.1, "10 keys")
	now = now.Add(5 * time.Second)
	p.show(0.25, "25 keys")
	p.clear()
	if got, want := b.String(), "[=======                       ]  25%  25 keys, 15s left\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	b.Reset()
	p.live, p.every = true, 0
	now = now.Add(time.Second)
	p.show(-1, "30 keys")
	p.clear()
	if got, want := b.String(), "\r30 keys\x1b[K\r\x1b[K"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

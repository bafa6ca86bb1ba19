package transport

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"
)

// Short calls that run out of time one after the other find out that the other end knows nothing of the
// connection; one that answers late, and a caller who goes away, do not.
func TestCallConn_silence(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		answer bool // some other call meanwhile
		cancel bool // the caller goes away, and no call runs out of time
		dead   bool
	}{
		{"nothing comes", false, false, true},
		{"something comes", true, false, false},
		{"callers go away", false, true, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				near, far := net.Pipe()
				c := newCallConn(near)
				go c.read()
				go func() {
					br, w := bufio.NewReader(far), &frameWriter{c: far}
					for {
						f, err := readFrame(br)
						if err != nil {
							return
						}
						if tt.answer && f.name == "other" {
							_ = w.write(&frame{kind: frameAnswer, id: f.id}, time.Now().Add(time.Second))
						}
					}
				}()
				for range 5 {
					ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
					if tt.cancel {
						time.AfterFunc(200*time.Millisecond, cancel)
					}
					if _, err := c.call(ctx, "status", nil); !errors.Is(err, ErrUnknown) && !errors.Is(err, errBroken) {
						t.Errorf("call = %v, want ErrUnknown", err)
					}
					cancel()
					if tt.answer {
						ctx, cancel := context.WithTimeout(t.Context(), time.Second)
						if _, err := c.call(ctx, "other", nil); err != nil {
							t.Error(err)
						}
						cancel()
					}
					time.Sleep(700 * time.Millisecond)
				}
				if got := c.broken(); got != tt.dead {
					t.Errorf("broken = %v, want %v", got, tt.dead)
				}
				_ = far.Close()
				c.fail()
				_, _ = io.Copy(io.Discard, near)
			})
		})
	}
}

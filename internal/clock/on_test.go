//go:build conclave_fault

package clock

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestShift moves the wall part of a time and leaves the monotonic one.
func TestShift(t *testing.T) {
	t.Parallel()
	for _, by := range []time.Duration{0, time.Hour, -time.Hour, 999_999_999, -999_999_999, 1} {
		now := time.Now()
		got := shift(now, by)
		if want := now.UnixNano() + int64(by); got.UnixNano() != want {
			t.Errorf("shift by %v gives %v, want %v", by, got.UnixNano(), want)
		}
		if d := got.Sub(now); d != 0 {
			t.Errorf("shift by %v moves the monotonic reading by %v", by, d)
		}
		if bare := now.Round(0); shift(bare, by).Sub(bare) != by {
			t.Errorf("a time without a monotonic reading moves by %v, want %v", shift(bare, by).Sub(bare), by)
		}
	}
}

// TestFaulty has clocks follow what the file says, and the boot clock never go back.
func TestFaulty(t *testing.T) {
	t.Parallel()
	f := faulty{file: filepath.Join(t.TempDir(), "clock")}
	for _, step := range []struct {
		name, text string
		at         time.Duration // machine time
		wall, boot time.Duration
	}{
		{"without a file", "", time.Hour, 0, 0},
		{"a jump", "1h", time.Hour + time.Second, time.Hour, 0},
		{"a drift begins", "-1h 0.05", time.Hour + 2*time.Second, -time.Hour, 0},
		{"it goes on", "-1h 0.05", time.Hour + 22*time.Second, -time.Hour + time.Second, time.Second},
		{"set right", "", time.Hour + 32*time.Second, 0, 1500 * time.Millisecond},
		{"slow", "0s -0.05", time.Hour + 42*time.Second, 0, 1500 * time.Millisecond},
		{"slow for long", "0s -0.05", time.Hour + 52*time.Second, -500 * time.Millisecond, time.Second},
	} {
		if step.text == "" {
			_ = os.Remove(f.file)
		} else if err := os.WriteFile(f.file, []byte(step.text+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if wall, boot := f.look(step.at); wall != step.wall || boot != step.boot {
			t.Errorf("%s: %v and %v off, want %v and %v", step.name, wall, boot, step.wall, step.boot)
		}
	}
}

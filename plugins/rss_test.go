package plugins_test

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/conclave-llm/conclave/plugins"
)

// maxResident is what a shipped plugin may have in memory. The race detector takes more.
const maxResident = 27 << 20

func TestHost_ResidentMemory(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector takes memory of its own")
	}
	h := newHost(t, plugins.Config{})
	syncReady(t, h, guard("w", "keywords", `{"words":["forbidden"]}`))
	pid := waitRunning(t, h, 0)
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			for range 100 {
				before(t, h, strings.Repeat("harmless ", 500))
			}
		})
	}
	wg.Wait()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		t.Skip("needs /proc")
	}
	var size, resident, shared int
	if _, err := fmt.Sscan(string(b), &size, &resident, &shared); err != nil {
		t.Fatal(err)
	}
	resident, shared = resident*os.Getpagesize(), shared*os.Getpagesize()
	t.Logf("resident %d KiB, of which shared %d KiB", resident>>10, shared>>10)
	if resident > maxResident {
		t.Errorf("resident %d KiB, want at most %d", resident>>10, maxResident>>10)
	}
}

//go:build e2e

package faults

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/conclave-llm/conclave/node/torture/rig"
	"github.com/conclave-llm/conclave/test/cluster"
)

// diskSize is that of a node's disk, of which a twentieth is the reserve.
const diskSize = 512 << 20

// disk is a file system of its own in a file.
type disk struct {
	t *testing.T
	v *rig.Volume
}

// newDisk makes and mounts one, or skips the test where that is not permitted.
func newDisk(t *testing.T, mount string) *disk {
	t.Helper()
	if err := rig.MayMount(); err != nil {
		t.Skip(err)
	}
	v, err := rig.NewVolume(filepath.Join(t.TempDir(), "disk"), mount, diskSize)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = v.Close() })
	return &disk{t: t, v: v}
}

func (d *disk) must(err error) {
	d.t.Helper()
	if err != nil {
		d.t.Fatal(err)
	}
}

// fail is a power failure: what was not synced is lost.
func (d *disk) fail() { d.t.Helper(); d.must(d.v.Fail()) }

// back mounts the disk again, as the machine's next start does.
func (d *disk) back() { d.t.Helper(); d.must(d.v.Back()) }

// fill leaves so many bytes free on the disk, until free is called.
func (d *disk) fill(left int64) { d.t.Helper(); d.must(d.v.Fill(left)) }

// free undoes fill.
func (d *disk) free() { d.t.Helper(); d.must(d.v.Free()) }

// TestPower_Fails ends the file system of one node, of the leader, and of all at once, so that everything that was not
// synced is lost, and kills the process. The journal's mode is fsync: no acknowledged write and no answered
// request is missing afterwards, and no state is another one.
func TestPower_Fails(t *testing.T) {
	disks := make([]*disk, 3)
	c := cluster.Config{
		Lines:   `journal = "fsync"`,
		Prepare: func(i int, dir string) { disks[i] = newDisk(t, dir) },
	}.Start(t, 3)
	id, secret := c.NewKey(0, map[string]any{"budgets": []map[string]any{{"usd": 1000, "per": "day"}}})
	for i := range c.Nodes {
		c.Await("the node serves the key", 10*time.Second, func() bool { return c.Chat(i, secret) == http.StatusOK })
	}
	tr := startTraffic(c, secret, 1)
	w := startWriter(t, c)
	rounds := 1
	if os.Getenv("CONCLAVE_FULL") != "" {
		rounds = 10
	}
	failed := int64(0) // disks, each amid one request at most
	for range rounds {
		leader := c.Leader()
		for _, who := range [][]int{{(leader + 1) % 3}, {leader}, {0, 1, 2}} {
			before := w.count()
			c.Await("writes go on", 20*time.Second, func() bool { return w.count() > before+20 })
			for _, i := range who {
				disks[i].must(c.Nodes[i].Freeze()) // a process that went on would spend what nobody knows of later
				disks[i].fail()
				c.Nodes[i].Kill()
				failed++
			}
			for _, i := range who {
				disks[i].back()
				c.Nodes[i].Start()
			}
			begin := time.Now()
			for _, i := range who {
				c.Nodes[i].AwaitReady()
			}
			t.Logf("power of %s failed: ready %s after", fmt.Sprint(who), time.Since(begin).Round(time.Millisecond))
		}
	}
	tr.end()
	w.end(t, c)
	sameState(t, c)
	checkCrashSpend(t, c, id, tr, failed)
	awaitLedger(t, c)
}

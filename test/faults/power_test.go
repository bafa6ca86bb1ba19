//go:build e2e

package faults

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/conclave-llm/conclave/internal/launch"
	"github.com/conclave-llm/conclave/test/cluster"
)

// The ioctl that ends a file system at once, ext4's and XFS's alike, and the flag for what is not yet in its
// journal to be lost.
const (
	goingDown  = 0x8004587d
	noLogFlush = 2
)

// disk is a file system of its own in a file.
type disk struct {
	t     *testing.T
	image string
	mount string
}

func (d *disk) must(name string, args ...string) {
	d.t.Helper()
	if out, err := exec.CommandContext(d.t.Context(), name, args...).CombinedOutput(); err != nil {
		d.t.Fatalf("%s %v: %v: %s", name, args, err, out)
	}
}

// newDisk makes and mounts one, or skips the test where that is not permitted.
func newDisk(t *testing.T, mount string) *disk {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("a file system in a file needs root")
	}
	if _, err := exec.LookPath("mkfs.ext4"); err != nil {
		missing(t, "mkfs.ext4 (e2fsprogs)")
	}
	d := &disk{t: t, image: filepath.Join(t.TempDir(), "disk"), mount: mount}
	if err := os.WriteFile(d.image, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(d.image, 512<<20); err != nil {
		t.Fatal(err)
	}
	d.must("mkfs.ext4", "-q", "-F", "-m", "0", d.image) // nothing is kept for root
	if err := os.MkdirAll(mount, 0o700); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), "mount", "-o", "loop", d.image, mount).CombinedOutput(); err != nil {
		t.Skipf("this kernel or container permits no loop device: %v: %s", err, out)
	}
	t.Cleanup(func() { _ = syscall.Unmount(mount, syscall.MNT_DETACH) })
	return d
}

// fail is a power failure: what was not synced is lost.
func (d *disk) fail() {
	d.t.Helper()
	f, err := os.Open(d.mount)
	if err != nil {
		d.t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	how := uint32(noLogFlush)
	if _, _, errno := syscall.Syscall(syscall.SYS_IOCTL, f.Fd(), goingDown, uintptr(unsafe.Pointer(&how))); errno != 0 {
		d.t.Skipf("this kernel does not shut the file system down: %v", errno)
	}
}

// back mounts the disk again, as the machine's next start does.
func (d *disk) back() {
	d.t.Helper()
	for try := 0; ; try++ { // until the process is gone
		err := syscall.Unmount(d.mount, 0)
		if err == nil {
			break
		}
		if try == 100 {
			d.t.Fatalf("unmount: %v", err)
		}
		<-time.After(50 * time.Millisecond)
	}
	d.must("mount", "-o", "loop", d.image, d.mount)
}

// freeze stops a process as its power does, before that of its disk: with a disk that is gone a sync may be told to be done
// which is not, and a process that went on would spend what nobody knows of later. A thread within a sync stays there.
func freeze(c *cluster.Cluster, n *cluster.Node) {
	pid := n.PID()
	_ = launch.Signal(pid, syscall.SIGSTOP)
	c.Await("the process stands still", 5*time.Second, func() bool {
		threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
		for _, path := range threads {
			stat, err := os.ReadFile(path)
			at := bytes.LastIndexByte(stat, ')') + 2
			if err != nil || at < 2 || at >= len(stat) || stat[at] != 'T' && stat[at] != 'D' {
				return false
			}
		}
		return len(threads) > 0
	})
}

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
				freeze(c, c.Nodes[i])
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

package cluster

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/conclave-llm/conclave/node/torture/rig"
)

// wires carry what nodes in network namespaces say to each other, packet by packet, through this process, which loses or
// delays them: each node has a device for it and an address on it, the same for all networks.
type wires struct {
	taps  []*os.File
	links [][]*wire // by sender and receiver
	done  chan struct{}
	wg    sync.WaitGroup
}

// wire is one direction between two nodes.
type wire struct {
	packets chan piece
	mu      sync.Mutex // guards how
	how     Wire
}

// wireHost is the address of node i on its wires.
func wireHost(i int) string { return fmt.Sprint("10.98.0.", firstHost+i) }

const (
	firstHost  = 11
	destByte   = 19   // of an IPv4 packet: the last byte of where it goes
	wireQueue  = 8192 // packets under way on a wire
	wirePacket = 1500
)

// newWires gives each node of the network its device.
func newWires(w *rig.Network, n int) (_ *wires, err error) {
	ws := &wires{done: make(chan struct{})}
	defer func() {
		if err != nil {
			ws.close()
		}
	}()
	for i := range n {
		tap, err := openTap(w.Space(i))
		if err != nil {
			return nil, err
		}
		ws.taps = append(ws.taps, tap)
		for _, args := range [][]string{{"addr", "add", wireHost(i) + "/24", "dev", "wire"}, {"link", "set", "wire", "up"}} {
			if out, err := exec.Command("ip", append([]string{"-n", w.Space(i)}, args...)...).CombinedOutput(); err != nil {
				return nil, fmt.Errorf("ip %v: %w: %s", args, err, out)
			}
		}
	}
	for range n {
		row := make([]*wire, n)
		for to := range row {
			row[to] = &wire{packets: make(chan piece, wireQueue)}
		}
		ws.links = append(ws.links, row)
	}
	for from := range n {
		ws.wg.Go(func() { ws.read(from) })
		for to := range n {
			ws.wg.Go(func() { ws.write(ws.links[from][to], ws.taps[to]) })
		}
	}
	return ws, nil
}

// openTap makes a device whose packets are read from and written to the file.
func openTap(space string) (*os.File, error) {
	type result struct {
		file *os.File
		err  error
	}
	made := make(chan result)
	go func() {
		runtime.LockOSThread() // and never again free: the thread, which is in the other namespace then, ends with the goroutine
		file, err := tapIn(space)
		made <- result{file, err}
	}()
	r := <-made
	return r.file, r.err
}

func tapIn(space string) (*os.File, error) {
	ns, err := os.Open("/run/netns/" + space)
	if err != nil {
		return nil, err
	}
	defer func() { _ = ns.Close() }()
	if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
		return nil, fmt.Errorf("enter the namespace: %w", err)
	}
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("open /dev/net/tun: %w", err)
	}
	request, err := unix.NewIfreq("wire")
	if err == nil {
		request.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, request)
	}
	if err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("make the device: %w", err)
	}
	return os.NewFile(uintptr(fd), "wire"), nil
}

func (ws *wires) close() {
	close(ws.done)
	for _, tap := range ws.taps {
		_ = tap.Close()
	}
	ws.wg.Wait()
}

// read takes what a node sends.
func (ws *wires) read(from int) {
	buf := make([]byte, wirePacket)
	for {
		n, err := ws.taps[from].Read(buf)
		if err != nil { // it is closed
			return
		}
		if n <= destByte || buf[0]>>4 != 4 {
			continue // what is not for a node, such as the kernel's own of IPv6
		}
		if to := int(buf[destByte]) - firstHost; to >= 0 && to < len(ws.taps) {
			ws.links[from][to].send(append([]byte(nil), buf[:n]...))
		}
	}
}

func (w *wire) send(packet []byte) {
	w.mu.Lock()
	how := w.how
	w.mu.Unlock()
	if how.Cut {
		return
	}
	select {
	case w.packets <- piece{packet, time.Now().Add(how.Delay + random(how.Jitter))}:
	default: // a queue that is full loses what comes
	}
}

// write lets a node receive, in the order of sending.
func (ws *wires) write(w *wire, tap *os.File) {
	for {
		select {
		case <-ws.done:
			return
		case p := <-w.packets:
			late := time.NewTimer(time.Until(p.due))
			select {
			case <-ws.done:
				late.Stop()
				return
			case <-late.C:
			}
			_, _ = tap.Write(p.body) // the node's device is gone with its namespace
		}
	}
}

// Wire makes one direction between two nodes what it is to be from now on. The cluster must be Wired.
func (c *Cluster) Wire(from, to int, how Wire) {
	w := c.wires.links[from][to]
	w.mu.Lock()
	defer w.mu.Unlock()
	w.how = how
}

// wire gives nodes their wires.
func (c *Cluster) wire(t testing.TB, n int) {
	ws, err := newWires(c.net, n)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(ws.close)
	c.wires = ws
}

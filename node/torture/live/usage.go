package live

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/conclave-llm/conclave/node/torture/rig"
)

const (
	warmUp     = 5 * time.Second // of load, before what nodes use counts as what they need
	watchEvery = 5 * time.Second
)

// When a node was measured.
const (
	warm  = "warm"
	amid  = "amid"
	atEnd = "end"
)

// used is one line of the usage: what a node had of the machine.
type used struct {
	At         time.Duration `json:"at"`
	When       string        `json:"when"` // "warm", "amid", "end"
	Node       int           `json:"node"`
	Memory     int64         `json:"memory"` // bytes that are resident
	Goroutines int64         `json:"goroutines"`
	Files      int64         `json:"files"` // descriptors
	Disk       int64         `json:"disk"`  // bytes below the data folder
}

// measure writes down what every node has of the machine that runs and answers.
func (r *run) measure(ctx context.Context, when string) {
	for i := range r.c.hosts {
		p := r.c.process(i)
		if r.down[i].Load() && when == amid || p.Ended() {
			continue
		}
		u, err := p.Usage()
		if err != nil {
			continue // it has ended
		}
		goroutines := r.c.goroutines(ctx, i)
		if goroutines == 0 {
			continue
		}
		_ = r.usages.add(used{ // the run ends with the same error
			At: time.Since(r.c.began), When: when, Node: i,
			Memory: u.RSS, Goroutines: goroutines, Files: int64(u.FDs), Disk: rig.Size(r.c.folder(i)),
		})
	}
}

// watch measures all the time.
func (r *run) watch(ctx context.Context) {
	for r.running(ctx) {
		r.wait(ctx, watchEvery)
		r.measure(ctx, amid)
	}
}

// goroutines is how many a node has, as its metrics say; 0 if they do not.
func (c *cluster) goroutines(ctx context.Context, i int) int64 {
	ctx, cancel := context.WithTimeout(ctx, watchEvery)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.hosts[i].url+"/metrics", nil)
	if err != nil {
		return 0
	}
	req.Header.Set("Authorization", "Bearer "+masterKey)
	res, err := c.http.Do(req)
	if err != nil {
		return 0
	}
	defer func() {
		_, _ = io.Copy(io.Discard, res.Body) // the connection is used again
		_ = res.Body.Close()
	}()
	for s := bufio.NewScanner(res.Body); s.Scan(); {
		if value, ok := strings.CutPrefix(s.Text(), "go_goroutines "); ok {
			n, _ := strconv.ParseInt(value, 10, 64) // 0: not known
			return n
		}
	}
	return 0
}

// findOrphans looks for processes whose parents have ended, while all nodes run: a plugin ends with its node, however that ended.
func (r *run) findOrphans() {
	if !r.adopts {
		return
	}
	for range orphanLooks {
		all, err := rig.Children()
		if err != nil {
			r.file.Orphans = []string{err.Error()}
			return
		}
		for i := range r.c.hosts {
			delete(all, r.c.process(i).PID())
		}
		r.file.Orphans = nil
		for pid, what := range all {
			r.file.Orphans = append(r.file.Orphans, fmt.Sprintf("%d %s", pid, what))
		}
		if len(all) == 0 {
			return
		}
		time.Sleep(orphanLook)
	}
}

const (
	orphanLooks = 20
	orphanLook  = 250 * time.Millisecond
)

// bound is what a node may have of something.
type bound struct {
	name  string
	of    func(*used) int64
	times int64 // what it had when it was warm, so many times
	plus  int64 // and so much more
	each  int64 // and so much for each request that the upstream billed
}

// bounds are generous: what grows with each fault or each request passes them in an hour.
var bounds = []bound{
	{"memory", func(u *used) int64 { return u.Memory }, 3, 256 << 20, 0},
	{"goroutines", func(u *used) int64 { return u.Goroutines }, 3, 500, 0},
	{"files", func(u *used) int64 { return u.Files }, 3, 300, 0},
	{"disk", func(u *used) int64 { return u.Disk }, 3, 1 << 30, 2 << 10},
}

// Most is the most that any node had of something: when it was warm, amid the faults, and in the end.
type Most struct {
	Warm int64 `json:"warm"`
	Amid int64 `json:"amid"`
	End  int64 `json:"end"`
}

// checkUsage compares what nodes had with what they had when they were warm.
func (r *report) checkUsage(v *Verdict) {
	v.Usage = map[string]Most{}
	for _, b := range bounds {
		m := Most{Warm: r.most(b, warm), Amid: r.most(b, amid), End: r.most(b, atEnd)}
		v.Usage[b.name] = m
		limit := b.times*m.Warm + b.plus + b.each*v.Requests
		if m.Warm == 0 || m.End == 0 {
			v.broken("I15: nobody knows the %s of the nodes", b.name)
		}
		if most := max(m.Amid, m.End); most > limit {
			v.broken("I15: %s of a node: %d, and %d when it was warm: at most %d", b.name, most, m.Warm, limit)
		}
	}
	for _, o := range r.run.Orphans {
		v.broken("I15: a process outlived its node: %s", o)
	}
}

// most is the most that any node had.
func (r *report) most(b bound, when string) (n int64) {
	for u := range slices.Values(r.usage) {
		if u.When == when {
			n = max(n, b.of(&u))
		}
	}
	return n
}

package courier_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/conclave-llm/conclave/adminapi/adminapitest"
	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/node/courier"
	"github.com/conclave-llm/conclave/resource"
	"github.com/conclave-llm/conclave/resource/alert"
	"github.com/conclave-llm/conclave/resource/channel"
)

// cluster is a state with a log that never fails, and channels that do as they are told.
type cluster struct {
	*adminapitest.Harness
	t    testing.TB
	mu   sync.Mutex
	sent []string         // "channel id"
	down map[string]error // by channel
	lost bool             // commands do not get through
}

func newCluster(t testing.TB, settings string) *cluster {
	c := &cluster{Harness: adminapitest.New(t), t: t, down: map[string]error{}}
	c.set(settings)
	return c
}

func (c *cluster) set(settings string) {
	c.t.Helper()
	for _, s := range c.State.Catalog().Tables().Settings {
		if s.ID == resource.SettingAlerts {
			c.Must("PUT", "/api/v1/settings/alerts", `{"value":`+settings+fmt.Sprintf(`,"version":%d}`, s.Version))
			return
		}
	}
	c.Must("PUT", "/api/v1/settings/alerts", `{"value":`+settings+`}`)
}

func (c *cluster) propose(ctx context.Context, cmd fsm.Command) error {
	c.mu.Lock()
	lost := c.lost
	c.mu.Unlock()
	if lost {
		return errors.New("no leader")
	}
	_, err := c.Propose(ctx, fsm.Actor{Kind: "node", ID: "n1"}, "", cmd)
	return err
}

func (c *cluster) send(_ context.Context, ch *channel.Channel, to []string, a *alert.Alert) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.down[ch.Name]; err != nil {
		return err
	}
	c.sent = append(c.sent, strings.Join(append([]string{ch.Name}, to...), ":")+" "+a.ID)
	return nil
}

// took lists what the channels have got since the last call, with the ids numbered.
func (c *cluster) took() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := c.sent
	c.sent = nil
	for i := range all {
		all[i], _, _ = strings.Cut(all[i], " ")
	}
	slices.Sort(all)
	return all
}

func (c *cluster) fail(channel string, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.down[channel] = err
}

// leader is a new one, which knows what is replicated and nothing else.
func (c *cluster) leader() *courier.Courier {
	return courier.New(courier.Config{
		State: c.State, Leads: func() bool { return true }, Propose: c.propose, Send: c.send,
		Name: func(_, id string) string { return "name of " + id }, Now: c.Clock,
	})
}

func (c *cluster) raise(key string) string {
	c.t.Helper()
	a := alert.Alert{Kind: channel.NodeDown, Subject: "node/n2", Key: key, Text: "n2 is down"}
	if err := c.propose(context.Background(), fsm.RaiseAlerts{Alerts: []alert.Alert{a}}); err != nil {
		c.t.Fatal(err)
	}
	p := c.State.PendingAlerts(0)
	return p[len(p)-1].ID
}

const two = `{"channels":[{"name":"a","type":"webhook","url":"https://a"},{"name":"b","type":"webhook","url":"https://b"},{"name":"c","type":"webhook","url":"https://c","kinds":["budget_*"]}],"deadline":"1h"}`

func TestCourier_Deliver(t *testing.T) {
	t.Parallel()
	c := newCluster(t, strings.Replace(two, `"deadline"`, `"keep":"1h","deadline"`, 1))
	id := c.raise("k1")
	l := c.leader()
	l.Pass(t.Context())
	if got := c.took(); !slices.Equal(got, []string{"a", "b"}) {
		t.Errorf("sent to %q, want a and b, which take the kind", got)
	}
	l.Pass(t.Context()) // at the latest now it is known to be done
	c.leader().Pass(t.Context())
	a, _ := c.State.Alert(id)
	if !a.Done || len(c.took()) != 0 || a.On("a").State != alert.Delivered || a.On("b").Tries != 1 {
		t.Errorf("got %+v", a)
	}
	c.Advance(2 * time.Hour)
	c.leader().Pass(t.Context())
	if _, ok := c.State.Alert(id); ok {
		t.Error("it is kept for longer than the setting says")
	}
}

// TestCourier_Retry lets one channel fail: it is tried with longer and longer pauses, and the other is not.
func TestCourier_Retry(t *testing.T) {
	t.Parallel()
	c := newCluster(t, two)
	c.fail("b", errors.New("503"))
	id := c.raise("k1")
	l := c.leader()
	tries := func() int64 {
		a, _ := c.State.Alert(id)
		if d := a.On("b"); d != nil {
			return d.Tries
		}
		return 0
	}
	for range 5 {
		l.Pass(t.Context())
	}
	a, _ := c.State.Alert(id)
	if got := c.took(); !slices.Equal(got, []string{"a"}) || tries() != 1 || a.On("b").Error != "503" || a.Done {
		t.Fatalf("sent to %q, then %+v", got, a)
	}
	c.Advance(2 * time.Second)
	l.Pass(t.Context())
	c.Advance(2 * time.Second) // the second pause is longer
	l.Pass(t.Context())
	c.fail("b", nil)
	l.Pass(t.Context())
	if got := c.took(); len(got) != 0 {
		t.Fatalf("it did not wait: %q", got)
	}
	c.Advance(2 * time.Second)
	l.Pass(t.Context())
	a, _ = c.State.Alert(id)
	if got := c.took(); !slices.Equal(got, []string{"b"}) || a.On("b").State != alert.Delivered || a.On("b").Tries != 3 || !a.Done {
		t.Errorf("sent to %q, then %+v", got, a)
	}
}

// TestCourier_DeadLetter gives up after the deadline, across leaders, and sends again when it is told to.
func TestCourier_DeadLetter(t *testing.T) {
	t.Parallel()
	c := newCluster(t, two)
	c.fail("b", errors.New("410 gone"))
	id := c.raise("k1")
	for range 3 {
		c.leader().Pass(t.Context())
		c.Advance(25 * time.Minute)
	}
	c.leader().Pass(t.Context())
	a, _ := c.State.Alert(id)
	if !a.Done || !a.IsDead() || a.On("b").State != alert.Dead || a.On("b").Error != "410 gone" || a.On("a").State != alert.Delivered {
		t.Fatalf("after the deadline: %+v", a)
	}
	c.took()
	c.fail("b", nil)
	c.leader().Pass(t.Context())
	if got := c.took(); len(got) != 0 {
		t.Fatalf("a dead letter was sent: %q", got)
	}
	if _, err := c.Propose(t.Context(), fsm.Actor{Kind: "master"}, "", fsm.RetryAlerts{IDs: []string{id}}); err != nil {
		t.Fatal(err)
	}
	c.leader().Pass(t.Context())
	a, _ = c.State.Alert(id)
	if got := c.took(); !slices.Equal(got, []string{"b"}) || !a.Done || a.IsDead() {
		t.Errorf("sent to %q, then %+v", got, a)
	}
}

// TestCourier_LostNote ends a leader between the delivery and its note: the next one sends the same
// alert once more, under the same id, and then it is done.
func TestCourier_LostNote(t *testing.T) {
	t.Parallel()
	c := newCluster(t, two)
	id := c.raise("k1")
	c.lost = true
	c.leader().Pass(t.Context())
	c.lost = false
	c.leader().Pass(t.Context())
	c.leader().Pass(t.Context())
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.sent {
		if !strings.HasSuffix(s, " "+id) {
			t.Errorf("sent %q, want the id %s", s, id)
		}
	}
	if len(c.sent) != 4 {
		t.Errorf("sent %q, want each channel twice", c.sent)
	}
}

func TestCourier_Addresses(t *testing.T) {
	t.Parallel()
	c := newCluster(t, `{"channels":[{"name":"chat","type":"slack","url":"https://c","only":true}]}`)
	l := c.leader()
	budget := func(key string, channels, emails []string) *alert.Alert {
		t.Helper()
		a := alert.Alert{Kind: channel.BudgetThreshold, Subject: "team/t1", Key: key, Channels: channels, Emails: emails, Text: "x"}
		if err := c.propose(t.Context(), fsm.RaiseAlerts{Alerts: []alert.Alert{a}}); err != nil {
			t.Fatal(err)
		}
		id := c.State.Alerts(fsm.AlertQuery{Match: func(a *alert.Alert) bool { return a.Key == key }})[0].ID
		l.Pass(t.Context())
		l.Pass(t.Context())
		out, _ := c.State.Alert(id)
		return out
	}
	if a := budget("1", nil, nil); !a.Done || len(a.Deliveries) != 0 {
		t.Errorf("nobody takes it: got %+v", a)
	}
	if a := budget("2", []string{"chat"}, []string{"t@corp.example"}); !a.Done || a.On("chat").State != alert.Delivered || a.On("t@corp.example").State != alert.Dead {
		t.Errorf("without a mail server: got %+v", a)
	}
	c.set(`{"channels":[{"name":"mail","type":"email","host":"smtp:25","from":"a@b.c"}]}`)
	c.took()
	if a := budget("3", []string{"chat"}, []string{"t@corp.example"}); a.On("chat").State != alert.Dead || a.On("t@corp.example").State != alert.Delivered {
		t.Errorf("the channel is gone: got %+v", a)
	}
	if got := c.took(); !slices.Equal(got, []string{"mail:t@corp.example"}) {
		t.Errorf("sent to %q", got)
	}
}

// TestCourier_Schedules draws schedules of alerts, failing channels, lost notes and new leaders. In the
// end every alert was sent to each of its channels; more than once only where a note was lost.
func TestCourier_Schedules(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		c := newCluster(t, strings.Replace(two, `"deadline":"1h"`, `"deadline":"1000h","keep":"3000d"`, 1))
		l := c.leader()
		raised, lost := 0, false
		rt.Repeat(map[string]func(*rapid.T){
			"raise": func(rt *rapid.T) {
				raised++
				c.lost = false
				key := fmt.Sprint(raised)
				c.raise(key)
				c.raise(key) // who sees the same twice says so twice
			},
			"fail": func(rt *rapid.T) {
				c.fail(rapid.SampledFrom([]string{"a", "b"}).Draw(rt, "channel"), errors.New("503"))
			},
			"mend":   func(rt *rapid.T) { c.fail(rapid.SampledFrom([]string{"a", "b"}).Draw(rt, "channel"), nil) },
			"lose":   func(*rapid.T) { c.lost, lost = true, true },
			"leader": func(*rapid.T) { l = c.leader() },
			"pass": func(rt *rapid.T) {
				l.Pass(t.Context())
				c.Advance(time.Duration(rapid.IntRange(0, 1000).Draw(rt, "seconds")) * time.Second)
			},
		})
		c.lost = false
		c.fail("a", nil)
		c.fail("b", nil)
		for range 3 {
			c.leader().Pass(t.Context())
		}
		if p := c.State.PendingAlerts(0); len(p) != 0 {
			rt.Fatalf("%d are pending", len(p))
		}
		times := map[string]int{}
		for _, s := range c.sent {
			times[s]++
		}
		if len(times) != 2*raised {
			rt.Fatalf("%d deliveries of %d alerts to two channels", len(times), raised)
		}
		for s, n := range times {
			if n != 1 && !lost {
				rt.Fatalf("%s was sent %d times, and no note was lost", s, n)
			}
		}
	})
}

func TestWatch(t *testing.T) {
	t.Parallel()
	c := newCluster(t, `{}`)
	var sights []courier.Sight
	known := true
	newWatch := func() *courier.Watch {
		return courier.NewWatch(courier.WatchConfig{
			Sources: []courier.Source{{Kind: channel.NodeDown, Look: func(context.Context) ([]courier.Sight, bool) { return sights, known }}},
			Open:    c.State.OpenAlerts, Leads: func() bool { return true }, Propose: c.propose, Now: c.Clock,
		})
	}
	w := newWatch()
	step := func(what string, raised, open int) {
		t.Helper()
		c.Advance(15 * time.Second)
		w.Pass(t.Context())
		if got := len(c.State.Alerts(fsm.AlertQuery{})); got != raised || len(c.State.OpenAlerts()) != open {
			t.Fatalf("%s: %d alerts, open %v, want %d and %d", what, got, c.State.OpenAlerts(), raised, open)
		}
	}
	sights = []courier.Sight{{ID: "n2", After: time.Minute, Lasting: true, Subject: "node/n2", Text: "down"}}
	step("seen first", 0, 0)
	step("15 s", 0, 0)
	sights = nil
	step("out of sight for a moment", 0, 0)
	sights = []courier.Sight{{ID: "n2", After: time.Minute, Lasting: true, Subject: "node/n2", Text: "down"}}
	step("45 s", 0, 0)
	step("a minute", 1, 1)
	w = newWatch()
	step("another leader", 1, 1)
	known = false
	sights = nil
	for range 5 {
		step("it cannot be told", 1, 1)
	}
	known = true
	for range 3 {
		w.Pass(t.Context())
		c.Advance(15 * time.Second)
	}
	step("it is over", 1, 0)
	sights = []courier.Sight{{ID: "n2", Lasting: true, Subject: "node/n2", Text: "down"}, {ID: "once", Subject: "node/n3", Text: "x"}}
	step("again, and something that does not last", 3, 1)
	step("both still there", 3, 1)
	w = newWatch()
	step("both, to another leader", 3, 1)
}

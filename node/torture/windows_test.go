package torture

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sort"
	"testing"
	"time"

	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/proxy/budget"
	"github.com/conclave-llm/conclave/resource"
)

// windowCase is a zone on the eve of a day on which its clocks change, if they ever do.
type windowCase struct{ zone, eve string }

// TestWindows spends budgets of every kind of holder and every period to their end, through three
// nodes whose clocks differ, stops all nodes just before each window's end, and starts them again
// just before and just after: before it all is refused by every node, and the refusal tells when
// the window ends; after it every node serves.
// Windows end where the calendar of the zone says, on days of 23, 24 and 25 hours, of half an
// hour more or less, and on one that has no midnight.
func TestWindows(t *testing.T) {
	t.Parallel()
	for _, c := range []windowCase{
		{"Europe/Berlin", "2026-03-28"},
		{"Europe/Berlin", "2026-10-24"},
		{"America/New_York", "2026-03-07"},
		{"America/New_York", "2026-10-31"},
		{"Australia/Lord_Howe", "2026-04-04"},
		{"Australia/Lord_Howe", "2026-10-03"},
		{"America/Havana", "2026-03-07"},
		{"America/Havana", "2026-10-31"},
		{"Pacific/Chatham", "2026-04-04"},
		{"Pacific/Chatham", "2026-09-26"},
		{"Asia/Kolkata", "2026-03-28"},
		{"UTC", "2026-12-31"},
	} {
		t.Run(c.zone+" "+c.eve, func(t *testing.T) {
			t.Parallel()
			c.run(t)
		})
	}
}

// budgetRequests is how many requests each budget has room for: two by each node.
const budgetRequests = 2 * nodesToldOf

// calendarWorld is a world whose budgets are spent by hand.
type calendarWorld struct {
	*world
	t *testing.T
}

// calendar tells the periods of a zone apart, as a person with a calendar would.
var calendar = map[resource.Per]func(time.Time) string{
	resource.PerHour:  func(at time.Time) string { return at.UTC().Format("2006-01-02 15") },
	resource.PerDay:   func(at time.Time) string { return at.Format(time.DateOnly) },
	resource.PerWeek:  func(at time.Time) string { y, w := at.ISOWeek(); return fmt.Sprint(y, w) },
	resource.PerMonth: func(at time.Time) string { return at.Format("2006-01") },
}

// endOf is the first second of the next period.
func endOf(per resource.Per, at time.Time) time.Time {
	name := calendar[per]
	n := sort.Search(40*24*3600, func(s int) bool { return name(at.Add(time.Duration(s)*time.Second)) != name(at) })
	return at.Add(time.Duration(n) * time.Second).Truncate(time.Second)
}

func (c *windowCase) run(t *testing.T) {
	loc, err := time.LoadLocation(c.zone)
	if err != nil {
		t.Fatal(err)
	}
	eve, err := time.ParseInLocation(time.DateOnly, c.eve, loc)
	if err != nil {
		t.Fatal(err)
	}
	a, err := newArena(t.TempDir(), eve.Add(20*time.Hour+10*time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	w := &calendarWorld{t: t, world: &world{
		arena: a, r: rand.New(rand.NewPCG(1, 1)), at: map[place]*standing{},
		cat: resource.NewCatalog(resource.Tables{}), who: &resource.Principal{Key: &resource.Key{}},
	}}
	for range nodesToldOf {
		w.join()
	}
	levels := w.holders(c.zone)
	w.restart()
	for _, l := range levels[resource.PerTotal] {
		w.spend(l)
	}
	for _, per := range []resource.Per{resource.PerHour, resource.PerDay, resource.PerWeek, resource.PerMonth} {
		end := endOf(per, w.now.In(loc))
		w.now = end.Add(-20 * time.Second)
		w.restart()
		for _, l := range levels[per] {
			w.spend(l)
		}
		w.now = end.Add(-2 * time.Second)
		w.restart()
		for _, l := range levels[per] {
			w.mustRefuse(l, end)
		}
		w.now = end.Add(time.Second)
		w.restart()
		for _, l := range levels[per] {
			for _, n := range w.nodes {
				w.mustServe(n, l).Release()
			}
		}
	}
	for _, l := range levels[resource.PerTotal] {
		w.mustRefuse(l, time.Time{})
	}
	if w.bad != "" {
		t.Error(w.bad)
	}
	if err := a.f.Close(); err != nil {
		t.Error(err)
	}
}

// holders makes one of each kind for each period.
func (w *calendarWorld) holders(zone string) map[resource.Per][]resource.Level {
	all := map[resource.Per][]resource.Level{}
	for _, per := range []resource.Per{resource.PerHour, resource.PerDay, resource.PerWeek, resource.PerMonth, resource.PerTotal} {
		most := int64(budgetRequests)
		meta := func(id string) resource.Meta { return resource.Meta{ID: string(per) + id} }
		allowance := resource.Allowance{Budgets: []resource.Terms{{Requests: &most, Per: per, Zone: zone}}}
		p := resource.Policy{Allowance: allowance}
		org := resource.Organization{Meta: meta("o"), Name: meta("o").ID, Policy: p}
		team := resource.Team{Meta: meta("t"), Name: meta("t").ID, Policy: p}
		project := resource.Project{Meta: meta("p"), Name: meta("p").ID, TeamID: team.ID, Policy: p}
		user := resource.User{Meta: meta("u"), Policy: p}
		member := resource.TeamMember{TeamID: team.ID, UserID: user.ID, Policy: p}
		member.ID = resource.TeamMemberID(team.ID, user.ID)
		key := resource.Key{Meta: meta("k"), Hash: resource.HashSecret(meta("k").ID), Policy: p}
		customer := resource.Customer{Meta: meta("c"), Policy: p}
		tag := resource.Tag{Meta: meta("g"), Policy: p}
		model := resource.Model{Meta: meta("m"), Name: meta("m").ID, Allowance: allowance}
		deployment := resource.Deployment{Meta: meta("d"), ModelID: model.ID, Provider: "openai", Allowance: allowance}
		group := resource.AccessGroup{Meta: meta("a"), Name: meta("a").ID, Models: []string{model.Name}, Allowance: allowance}
		for _, cmd := range []fsm.Command{
			fsm.PutOrganization{Record: encode(org)},
			fsm.PutTeam{Team: encode(team)},
			fsm.PutProject{Record: encode(project)},
			fsm.PutUser{Record: encode(user)},
			fsm.PutTeamMember{Record: encode(member)},
			fsm.PutKey{Key: encode(key)},
			fsm.PutCustomer{Record: encode(customer)},
			fsm.PutTag{Record: encode(tag)},
			fsm.PutModel{Model: encode(model)},
			fsm.PutDeployment{Deployment: encode(deployment)},
			fsm.PutAccessGroup{Record: encode(group)},
		} {
			w.must(w.apply(master, 0, cmd))
		}
		for _, r := range []resource.Record{&org, &team, &project, &user, &member, &key, &customer, &tag, &model, &deployment, &group} {
			r.Canonicalize()
			l, _ := resource.LevelOf(r)
			all[per] = append(all[per], l)
		}
	}
	return all
}

func encode[T any](r T) fsm.Encoded[T] {
	e, err := fsm.EncodedOf(r)
	if err != nil {
		panic(err)
	}
	return e
}

// restart stops all nodes that run, and starts them, half a second apart by their clocks, with
// their journals carried into the state.
func (w *calendarWorld) restart() {
	for _, n := range w.nodes {
		w.kill(n, false)
	}
	for i, n := range w.nodes {
		w.start(n)
		n.skew, n.leads = time.Duration(i-1)*time.Second/2, true
		for n.epoch == 0 {
			w.openEpoch(n)
		}
	}
	w.settled(3)
}

// settled lets all nodes tick so often, with all that their journals hold.
func (w *calendarWorld) settled(times int) {
	for range times {
		for _, n := range w.nodes {
			n.synced = n.number
		}
		w.tickAll()
	}
}

// ask sends a request that falls under one level alone. While it waits for a grant all nodes tick:
// what the node wants, what the others then give up, and what it gets of that.
func (w *calendarWorld) ask(n *simNode, l resource.Level) (*budget.Hold, error) {
	type answer struct {
		h   *budget.Hold
		err error
	}
	done := make(chan answer)
	go func() {
		h, err := n.b.Reserve(context.Background(), budget.Request{Catalog: w.cat, Levels: []resource.Level{l}, Model: "demo"})
		done <- answer{h, err}
	}()
	for {
		select {
		case a := <-done:
			return a.h, a.err
		case <-n.asked:
			w.settled(3)
		}
	}
}

// spend uses a budget up, through all nodes in turn, and settles it.
func (w *calendarWorld) spend(l resource.Level) {
	w.t.Helper()
	for i := range budgetRequests {
		n := w.nodes[i%len(w.nodes)]
		h := w.mustServe(n, l)
		q := n.write(entry{charges: slices.Clone(h.Holds())})
		n.write(entry{reserved: q, charges: slices.Clone(h.Settle(budget.Amounts{}))})
		h.Release()
	}
	w.settled(1)
}

// mustServe sends a request, again if the machine was too slow for the wait for a grant.
func (w *calendarWorld) mustServe(n *simNode, l resource.Level) *budget.Hold {
	w.t.Helper()
	var err error
	for range 10 {
		var h *budget.Hold
		if h, err = w.ask(n, l); err == nil {
			return h
		}
	}
	w.t.Fatalf("%s %s at %s: %v", l.Kind, l.ID, w.now, err)
	return nil
}

// mustRefuse expects that the budget is spent on every node until its window ends.
func (w *calendarWorld) mustRefuse(l resource.Level, end time.Time) {
	w.t.Helper()
	for _, n := range w.nodes {
		n.leads = false // nothing is worth waiting for
		_, err := w.ask(n, l)
		n.leads = true
		var e *llm.Error
		if !errors.As(err, &e) || e.Kind != llm.OverBudget || e.Scope != l.Kind || e.Entity != l.ID {
			w.t.Errorf("node %s: %s %s at %s: %v, want it refused", n.id, l.Kind, l.ID, w.now, err)
			continue
		}
		if !e.ResetsAt.Equal(end) {
			w.t.Errorf("node %s: %s %s at %s: the window ends at %s, want %s", n.id, l.Kind, l.ID, w.now, e.ResetsAt, end)
		}
	}
}

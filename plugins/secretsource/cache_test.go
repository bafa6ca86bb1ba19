package secretsource_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/conclave-llm/conclave/plugins/secretsource"
	"github.com/conclave-llm/conclave/resource"
	"github.com/conclave-llm/conclave/secret"
)

// store is a Reader whose values and failures tests set.
type store struct {
	mu    sync.Mutex // guards what follows
	text  string
	err   error
	takes time.Duration
	reads int
}

func (s *store) Read(ctx context.Context, _ secretsource.Address) (secretsource.Value, error) {
	s.mu.Lock()
	text, err, takes := s.text, s.err, s.takes
	s.reads++
	s.mu.Unlock()
	if takes > 0 {
		select {
		case <-time.After(takes):
		case <-ctx.Done():
			return secretsource.Value{}, &secretsource.Error{Reason: secretsource.Unavailable, Text: "too late"}
		}
	}
	return secretsource.Value{Text: secret.New(text), Version: "3"}, err
}

func (s *store) set(text string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.text, s.err = text, err
}

func (s *store) asked() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.reads
}

// bench is a cache in a bubble of synthetic time, whose source is called vault.
type bench struct {
	*secretsource.Cache
	record  atomic.Pointer[resource.SecretSource]
	changes atomic.Int64
}

func newBench(t *testing.T) *bench {
	t.Helper()
	b := &bench{}
	b.record.Store(&resource.SecretSource{Meta: resource.Meta{ID: "src_1"}, Name: "vault", RefreshSeconds: 300, MaxStaleSeconds: 3600})
	b.Cache = secretsource.NewCache(secretsource.CacheConfig{
		Source: func(name string) (*resource.SecretSource, bool) {
			s := b.record.Load()
			return s, s != nil && s.Name == name
		},
		Changed: func() { b.changes.Add(1) },
	})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		b.Run(ctx)
		close(done)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	return b
}

// value resolves the reference and returns its value, or the reason why there is none.
func (b *bench) value(t *testing.T, ref string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	text, err := b.Resolve(ctx, ref)
	if u, ok := errors.AsType[*secret.Unresolved](err); ok {
		return u.Reason
	} else if err != nil {
		t.Fatalf("resolve %s: %v is no *secret.Unresolved", ref, err)
	}
	return text.Reveal()
}

const ref = "vault://secret/openai#key"

func TestCache_Refreshes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b, s := newBench(t), &store{text: "one"}
		b.SetReader("vault", s)
		var all sync.WaitGroup
		for range 20 {
			all.Go(func() {
				if got := b.value(t, ref); got != "one" {
					t.Errorf("got %q", got)
				}
			})
		}
		all.Wait()
		if n := s.asked(); n != 1 {
			t.Errorf("20 requests at once read %d times, want once", n)
		}
		before := b.changes.Load()
		s.set("two", nil)
		if got := b.value(t, ref); got != "one" {
			t.Errorf("within the refresh time got %q", got)
		}
		time.Sleep(302 * time.Second)
		if got := b.value(t, ref); got != "two" || b.changes.Load() != before+1 {
			t.Errorf("after a rotation got %q and %d changes", got, b.changes.Load()-before)
		}
		time.Sleep(302 * time.Second)
		if b.changes.Load() != before+1 {
			t.Error("a value that is the same is a change")
		}
	})
}

// What is held outlives the store, but not for ever; when the store is back, so is the value.
func TestCache_Stale(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b, s := newBench(t), &store{text: "one"}
		b.SetReader("vault", s)
		b.value(t, ref)
		s.set("", &secretsource.Error{Reason: secretsource.Denied, Text: "no"})
		time.Sleep(59 * time.Minute)
		if got := b.value(t, ref); got != "one" {
			t.Errorf("within the stale time got %q", got)
		}
		if n := s.asked(); n > 75 { // one a minute after the first ones
			t.Errorf("a store that refuses is asked %d times in an hour", n)
		}
		changes := b.changes.Load()
		time.Sleep(2 * time.Minute)
		if got := b.value(t, ref); got != "denied" || b.changes.Load() != changes+1 {
			t.Errorf("after the stale time got %q and %d changes, want denied and one", got, b.changes.Load()-changes)
		}
		s.set("new", nil)
		time.Sleep(61 * time.Second)
		if got := b.value(t, ref); got != "new" {
			t.Errorf("when the store is back got %q", got)
		}
	})
}

func TestCache_Reasons(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		if got := b.value(t, "vault://"); got != "malformed" {
			t.Errorf("a reference without a path: got %q", got)
		}
		if got := b.value(t, "secret://other/x"); got != "no_source" {
			t.Errorf("a source that there is not: got %q", got)
		}
		began := time.Now()
		if got := b.value(t, ref); got != "unavailable" || time.Since(began) != 2*time.Second {
			t.Errorf("a source that does not run: got %q after %v", got, time.Since(began))
		}
		for _, reason := range []secretsource.Reason{secretsource.NotFound, secretsource.Denied, secretsource.Unavailable} {
			s := &store{err: &secretsource.Error{Reason: reason, Text: "x"}}
			b.SetReader("vault", s)
			if got := b.value(t, "vault://"+string(reason)); got != string(reason) {
				t.Errorf("%s: got %q", reason, got)
			}
		}
		b.SetReader("vault", &store{text: "late", takes: time.Minute})
		if got := b.value(t, "vault://slow"); got != "unavailable" {
			t.Errorf("a store that is slow: got %q", got)
		}
	})
}

// A request that needs a secret waits for a source that starts meanwhile, and for none that has it.
func TestCache_Starting(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		time.AfterFunc(time.Second, func() { b.SetReader("vault", &store{text: "x"}) })
		if got := b.value(t, ref); got != "x" {
			t.Errorf("got %q", got)
		}
	})
}

func TestCache_Held(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b, s := newBench(t), &store{text: "x", takes: time.Second}
		b.SetReader("vault", s)
		if _, err := b.Held(ref); err == nil {
			t.Error("what was never read is held")
		}
		time.Sleep(1500 * time.Millisecond)
		if text, err := b.Held(ref); err != nil || text.Reveal() != "x" || b.changes.Load() != 1 {
			t.Errorf("got %v, %v after %d changes", text, err, b.changes.Load())
		}
	})
}

// A new process may have another configuration, and another record of the name has other values.
func TestCache_Replaced(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b, first, second := newBench(t), &store{text: "one"}, &store{text: "two"}
		b.SetReader("vault", first)
		b.value(t, ref)
		b.SetReader("vault", second)
		b.DropReader("vault", first) // the old process ends after the new one has begun
		synctest.Wait()
		if got := b.value(t, ref); got != "two" {
			t.Errorf("with another process got %q", got)
		}
		b.record.Store(&resource.SecretSource{Meta: resource.Meta{ID: "src_2"}, Name: "vault", RefreshSeconds: 300, MaxStaleSeconds: 3600})
		b.DropReader("vault", second)
		if got := b.value(t, ref); got != "unavailable" {
			t.Errorf("a value of the former record of the name is used: %q", got)
		}
		b.record.Store(nil)
		if got := b.value(t, ref); got != "no_source" {
			t.Errorf("without a record got %q", got)
		}
	})
}

// A reference that nobody asks for is forgotten, and who kept its value is told.
func TestCache_Forgets(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b, s := newBench(t), &store{text: "x"}
		b.SetReader("vault", s)
		b.value(t, ref)
		time.Sleep(8 * 24 * time.Hour)
		n := s.asked()
		time.Sleep(time.Hour)
		if s.asked() != n || b.changes.Load() != 2 {
			t.Errorf("read %d times after it was forgotten, %d changes", s.asked()-n, b.changes.Load())
		}
	})
}

func TestCache_Test(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b, s := newBench(t), &store{text: "x"}
		b.SetReader("vault", s)
		want := secret.New("x").Fingerprint()
		if st := b.Test(t.Context(), ref); st.Err != nil || st.Fingerprint != want || st.Version != "3" {
			t.Errorf("got %+v", st)
		}
		s.set("", &secretsource.Error{Reason: secretsource.NotFound, Text: "gone"})
		if st := b.Test(t.Context(), ref); st.Err == nil || st.Fingerprint != want {
			t.Errorf("with a value that is held: got %+v, want its fingerprint and the error", st)
		}
		if st := b.Test(t.Context(), "vault://"); st.Err == nil {
			t.Errorf("malformed: got %+v", st)
		}
	})
}

// shelves is a store that is also written.
type shelves struct{ store }

func (s *shelves) Write(_ context.Context, w secretsource.Written) (string, error) {
	s.set(w.Text.Reveal(), nil)
	return "4", nil
}

func (s *shelves) Delete(context.Context, string) error {
	s.set("", &secretsource.Error{Reason: secretsource.NotFound, Text: "deleted"})
	return nil
}

// The access mode of the record says what may be done, whatever the plugin can, and what was written is
// read again.
func TestCache_Put(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		s := &shelves{}
		s.set("old", nil)
		b.SetReader("vault", s)
		ctx := t.Context()
		reason := func(err error) string {
			if u, ok := errors.AsType[*secret.Unresolved](err); ok {
				return u.Reason
			}
			return ""
		}
		mode := func(m resource.AccessMode) {
			r := *b.record.Load()
			r.AccessMode = m
			b.record.Store(&r)
		}
		if got := reason(b.Put(ctx, "vault://a", secret.New("new"), "")); got != "denied" {
			t.Errorf("written to a source that is only read: %q", got)
		}
		mode(resource.AccessReadWrite)
		if v, err := b.Resolve(ctx, "vault://a"); err != nil || v.Reveal() != "old" {
			t.Fatalf("got %v, %v", v, err)
		}
		if err := b.Put(ctx, "vault://a", secret.New("new"), "d"); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if v, err := b.Held("vault://a"); err != nil || v.Reveal() != "new" {
			t.Errorf("after the write: %v, %v", v, err)
		}
		if v, err := b.Fetch(ctx, "vault://b"); err != nil || v.Reveal() != "new" {
			t.Errorf("fetched: %v, %v", v, err)
		}
		if err := b.Remove(ctx, "vault://a"); err != nil {
			t.Error(err)
		}
		mode(resource.AccessWrite)
		if _, err := b.Resolve(ctx, "vault://a"); reason(err) != "denied" {
			t.Errorf("a source that is only written is read: %v", err)
		}
		if _, err := b.Fetch(ctx, "vault://a"); reason(err) != "denied" {
			t.Errorf("a source that is only written is fetched from: %v", err)
		}
		for ref, want := range map[string]string{"gcp-sm://a": "no_source", "vault://": "malformed"} {
			if got := reason(b.Put(ctx, ref, secret.New("x"), "")); got != want {
				t.Errorf("%s: %q, want %q", ref, got, want)
			}
		}
		b.DropReader("vault", s)
		if got := reason(b.Put(ctx, "vault://a", secret.New("x"), "")); got != "unavailable" {
			t.Errorf("nobody runs: %q", got)
		}
	})
}

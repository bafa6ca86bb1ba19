package ledger

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/resource"
)

var ignoreNumbers = cmpopts.IgnoreFields(Record{}, "Number")

func testConfig(dir string) Config {
	return Config{Dir: dir, NodeID: "n1", BootID: "run-1", Logger: slog.New(slog.DiscardHandler)}
}

func openJournal(t testing.TB, cfg Config) *Journal {
	t.Helper()
	j, err := OpenJournal(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return j
}

func closeJournal(t testing.TB, j *Journal) {
	t.Helper()
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
}

func reservation(id string) *Reservation {
	return &Reservation{
		RequestID: id, Time: 5, KeyID: "key_1", TeamID: "team_1", User: "u", Model: "demo", Hold: 70,
		Holds: []AccountCharge{{"key/key_1/day", 3, 70}}, OrganizationID: "org_1", ProjectID: "prj_1",
		UserID: "user_1", CustomerID: "u", Tags: []string{"a", "b"},
	}
}

func record(id string) *Record {
	return &Record{
		RequestID: id, Time: 7, KeyID: "key_1", TeamID: "team_1", User: "u", Model: "demo", DeploymentID: "dep_1",
		Endpoint: "chat", Status: 200, Usage: llm.Usage{Input: 10, CacheRead: 1, CacheWrite: 2, Output: 3, Reasoning: 4, Source: llm.UsageProvider},
		Cost: 40, Hold: 70, Duration: time.Second, TTFT: time.Millisecond, Node: "n1",
		Charges: []AccountCharge{{"key/key_1/day", 3, 40}, {"team/team_1/total", 0, 40}},
		Tags:    []string{"a", "b"}, Flags: Streamed | Cut,
		UserID: "user_1", Provider: "openai", Attempts: 2, ErrorKind: "upstream", ErrorCode: "upstream_cut", Guardrail: "words",
		Guardrails:     []GuardrailResult{{"words", "before", "rewritten", "word 2"}, {"pii", "after", "passed", ""}},
		OrganizationID: "org_1", ProjectID: "prj_1", CustomerID: "u", SessionID: "ses_1",
		Receipt: Receipt{
			Step: "answer", Scope: "key", Entity: "key_1", Rule: "no", Prompt: 12, Completion: 4096, Clamped: 7, PriceSource: "table",
			Tries: []Try{{"dep_0", "openai", "rate_limited", "rate_limit", 429, time.Second}, {"dep_1", "openai", "", "", 200, time.Second}},
		},
	}
}

func write(t testing.TB, j *Journal, id string) {
	t.Helper()
	n, err := j.Reserve(reservation(id))
	if err != nil {
		t.Fatal(err)
	}
	if err := j.Settle(n, record(id)); err != nil {
		t.Fatal(err)
	}
}

func readAll(t testing.TB, j *Journal) []Record {
	t.Helper()
	var all []Record
	for after := uint64(0); ; {
		rs, next, err := j.ReadFrom(after, 7)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, rs...)
		if next == after {
			return all
		}
		after = next
	}
}

func ids(rs []Record) string {
	var b strings.Builder
	for _, r := range rs {
		b.WriteString(r.RequestID)
		if r.Flags.Has(HoldCharged) {
			b.WriteByte('~')
		}
		b.WriteByte(' ')
	}
	return strings.TrimSpace(b.String())
}

func TestJournal_RoundTrip(t *testing.T) {
	t.Parallel()
	for _, mode := range []Mode{ModeWrite, ModeFsync, ModeAsync} {
		t.Run(string(mode), func(t *testing.T) {
			t.Parallel()
			cfg := testConfig(t.TempDir())
			cfg.Mode = mode
			j := openJournal(t, cfg)
			n, err := j.Reserve(reservation("a"))
			if err != nil {
				t.Fatal(err)
			}
			if mode == ModeFsync && j.Synced() < n {
				t.Errorf("synced %d after reservation %d", j.Synced(), n)
			}
			if err := j.Settle(n, record("a")); err != nil {
				t.Fatal(err)
			}
			if err := j.Settle(n, record("a")); !errors.Is(err, ErrSettled) {
				t.Errorf("second Settle = %v, want ErrSettled", err)
			}
			if err := j.Settle(0, record("refused")); err != nil {
				t.Fatal(err)
			}
			want := []Record{*record("a"), *record("refused")}
			want[0].Reserved = n
			if d := cmp.Diff(want, readAll(t, j), ignoreNumbers); d != "" {
				t.Errorf("records (-want +got):\n%s", d)
			}
			closeJournal(t, j)
			if err := j.Settle(0, record("late")); !errors.Is(err, ErrClosed) {
				t.Errorf("Settle after Close = %v, want ErrClosed", err)
			}
			j = openJournal(t, cfg)
			defer closeJournal(t, j)
			if d := cmp.Diff(want, readAll(t, j), ignoreNumbers); d != "" {
				t.Errorf("records after reopening (-want +got):\n%s", d)
			}
		})
	}
}

// kill leaves the files as kill -9 does: the journal is neither closed nor used again.
func kill(t testing.TB, j *Journal) {
	t.Helper()
	close(j.stop)
	<-j.done
	for _, s := range j.segmentList() {
		if s.file != nil {
			_ = s.file.Close()
		}
	}
}

func TestJournal_Restart(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		boot  string // of the second process
		mode  Mode
		clean bool
		spoil func(b []byte) []byte // the newest segment
		want  string
		whole bool
	}{
		{name: "kill -9", boot: "run-1", want: "a b~ c~", whole: true},
		{name: "clean stop and restart of the machine", boot: "run-2", clean: true, want: "a b~ c~", whole: true},
		{name: "power cut", boot: "run-2", want: "a b~ c~"},
		{name: "power cut, fsync", boot: "run-2", mode: ModeFsync, want: "a b~ c~", whole: true},
		{
			name: "torn tail", boot: "run-1", want: "a b~", whole: true,
			spoil: func(b []byte) []byte { return b[:len(b)-3] },
		},
		{
			name: "tail of zeros", boot: "run-1", want: "a b~ c~", whole: true,
			spoil: func(b []byte) []byte { return append(b, make([]byte, 5000)...) },
		},
		{
			name: "flipped bit in the middle", boot: "run-1", want: "b~ c~",
			spoil: func(b []byte) []byte {
				i := strings.Index(string(b), "dep_1")
				b[i] ^= 1
				return b
			},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			cfg := testConfig(t.TempDir())
			cfg.Mode = tt.mode
			j := openJournal(t, cfg)
			if err := j.SetEpoch(1, 0); err != nil {
				t.Fatal(err)
			}
			write(t, j, "a")
			for _, id := range []string{"b", "c"} {
				if _, err := j.Reserve(reservation(id)); err != nil {
					t.Fatal(err)
				}
			}
			if tt.clean {
				closeJournal(t, j)
			} else {
				kill(t, j)
			}
			if tt.spoil != nil {
				path := j.current.path
				b, err := os.ReadFile(path)
				if err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, tt.spoil(b), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			cfg.BootID = tt.boot
			j = openJournal(t, cfg)
			got := readAll(t, j)
			if tt.name == "flipped bit in the middle" {
				got = got[len(got)-2:] // its own reservation may be open again: never less than was spent
				if j.Holes() == 0 {
					t.Error("damage was not reported")
				}
			}
			if got := ids(got); got != tt.want {
				t.Errorf("records = %q, want %q", got, tt.want)
			}
			if got := j.Whole(1); got != tt.whole {
				t.Errorf("Whole(1) = %v, want %v", got, tt.whole)
			}
			if j.Open() != 0 {
				t.Errorf("%d reservations are open", j.Open())
			}
			if err := j.SetEpoch(2, 0); err != nil {
				t.Fatal(err)
			}
			kill(t, j)
			j = openJournal(t, cfg)
			defer closeJournal(t, j)
			if !j.Whole(2) || j.Whole(1) != tt.whole {
				t.Errorf("one kill later: Whole(1) = %v, Whole(2) = %v, want %v, true", j.Whole(1), j.Whole(2), tt.whole)
			}
		})
	}
}

func TestJournal_LostNumbersAreNotUsedAgain(t *testing.T) {
	t.Parallel()
	cfg := testConfig(t.TempDir())
	j := openJournal(t, cfg)
	write(t, j, "a")
	last := j.Last()
	kill(t, j)
	if err := os.Truncate(j.current.path, j.current.size.Load()-10); err != nil {
		t.Fatal(err)
	}
	cfg.BootID = "run-2"
	j = openJournal(t, cfg)
	defer closeJournal(t, j)
	write(t, j, "b")
	rs, _, err := j.ReadFrom(last, 10)
	if err != nil {
		t.Fatal(err)
	}
	if got := ids(rs); got != "a~ b" && got != "b" {
		t.Errorf("a reader that had seen %d reads %q next", last, got)
	}
}

func TestJournal_Segments(t *testing.T) {
	t.Parallel()
	cfg := testConfig(t.TempDir())
	cfg.SegmentBytes = 4 << 10
	cfg.MaxBytes = 12 << 10
	j := openJournal(t, cfg)
	if err := j.SetEpoch(1, 0); err != nil {
		t.Fatal(err)
	}
	old, err := j.Reserve(reservation("old"))
	if err != nil {
		t.Fatal(err)
	}
	for i := range 100 {
		write(t, j, fmt.Sprint(i))
	}
	if err := j.syncAll(); err != nil {
		t.Fatal(err)
	}
	n := len(j.segmentList())
	if n < 5 {
		t.Fatalf("%d segments", n)
	}
	if err := j.Trim(); err != nil || len(j.segmentList()) != n {
		t.Errorf("Trim removed %d segments under an open reservation: %v", n-len(j.segmentList()), err)
	}
	kill(t, j)

	j = openJournal(t, cfg) // must find the reservation in the first segment by the last one's CHECK
	rs := readAll(t, j)
	if got := len(rs); got != 101 {
		t.Fatalf("%d records, want 101", got)
	}
	if r := rs[100]; r.Reserved != old || r.RequestID != "old" || !r.Flags.Has(HoldCharged) || r.Cost != 70 {
		t.Errorf("last record = %+v", r)
	}
	n = len(j.segmentList())
	j.SetFloor("sink", rs[30].Number)
	if err := j.Trim(); err != nil {
		t.Fatal(err)
	}
	left := len(j.segmentList())
	if rs, _, _ := j.ReadFrom(rs[30].Number, 1); left == n || len(rs) != 1 || rs[0].RequestID != "31" {
		t.Errorf("after Trim with a floor: %d of %d segments, next %q", left, n, ids(rs))
	}
	j.DropFloor("sink")
	if err := j.Trim(); err != nil || len(j.segmentList()) >= left {
		t.Errorf("Trim without a floor left %d segments: %v", len(j.segmentList()), err)
	}
	closeJournal(t, j)
}

func TestJournal_Concurrent(t *testing.T) {
	t.Parallel()
	cfg := testConfig(t.TempDir())
	cfg.SegmentBytes = 64 << 10
	j := openJournal(t, cfg)
	const workers, each = 16, 200
	seen := make(chan int)
	go func() { // a callback reads along
		got := map[string]bool{}
		for after := uint64(0); len(got) < workers*each; {
			rs, next, err := j.ReadFrom(after, 50)
			if err != nil {
				t.Error(err)
				break
			}
			for _, r := range rs {
				got[r.RequestID] = true
			}
			if next == after {
				if err := j.Wait(t.Context(), after); err != nil {
					t.Error(err)
					break
				}
			}
			after = next
		}
		seen <- len(got)
	}()
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for i := range each {
				write(t, j, fmt.Sprint(w, "-", i))
			}
		})
	}
	wg.Wait()
	if got := <-seen; got != workers*each {
		t.Errorf("the reader saw %d records, want %d", got, workers*each)
	}
	closeJournal(t, j)
	if err := j.Wait(t.Context(), j.Last()); !errors.Is(err, ErrClosed) {
		t.Errorf("Wait after Close = %v", err)
	}
	j = openJournal(t, cfg)
	defer closeJournal(t, j)
	if got := len(readAll(t, j)); got != workers*each {
		t.Errorf("%d records after reopening, want %d", got, workers*each)
	}
	count := 0
	if holes, err := ReadDir(cfg.Dir, func(*Record) error { count++; return nil }); err != nil || holes != 0 || count != workers*each {
		t.Errorf("ReadDir: %d records, %d holes, %v", count, holes, err)
	}
}

// badFile fails its writes or syncs once told to.
type badFile struct {
	file
	disk *badDisk
}

type badDisk struct {
	mu          sync.Mutex
	write, sync error
}

func (d *badDisk) set(write, sync error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.write, d.sync = write, sync
}

func (f badFile) Write(b []byte) (int, error) {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	if f.disk.write != nil {
		n, _ := f.file.Write(b[:len(b)/2])
		return n, f.disk.write
	}
	return f.file.Write(b)
}

func (f badFile) Sync() error {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	if f.disk.sync != nil {
		return f.disk.sync
	}
	return f.file.Sync()
}

func TestJournal_DiskFails(t *testing.T) {
	t.Parallel()
	full := errors.New("no space left on device")
	for _, tt := range []struct {
		name        string
		write, sync error
	}{{"write", full, nil}, {"sync", nil, full}} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			disk := &badDisk{}
			cfg := testConfig(t.TempDir())
			cfg.open = func(path string) (file, error) {
				f, err := openAppend(path)
				return badFile{f, disk}, err
			}
			j := openJournal(t, cfg)
			if err := j.SetEpoch(1, 0); err != nil {
				t.Fatal(err)
			}
			n, err := j.Reserve(reservation("a"))
			if err != nil {
				t.Fatal(err)
			}
			disk.set(tt.write, tt.sync)
			if tt.write != nil {
				if err := j.Settle(n, record("a")); !errors.Is(err, ErrFailed) || !errors.Is(err, full) {
					t.Errorf("Settle = %v, want ErrFailed", err)
				}
			}
			<-j.Failed() // the background sync finds the other case
			disk.set(nil, nil)
			if _, err := j.Reserve(reservation("b")); !errors.Is(err, ErrFailed) {
				t.Errorf("Reserve on a disk that has recovered = %v, want ErrFailed for good", err)
			}
			kill(t, j)
			j = openJournal(t, cfg)
			defer closeJournal(t, j)
			if got := ids(readAll(t, j)); got != "a~" {
				t.Errorf("records = %q, want a~", got)
			}
			if j.Whole(1) {
				t.Error("Whole(1) after a write error")
			}
		})
	}
}

func TestJournal_WaitsWhenUnsyncedForLong(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	now := time.Unix(100, 0)
	cfg := testConfig(t.TempDir())
	cfg.Now = func() time.Time { mu.Lock(); defer mu.Unlock(); return now }
	j := openJournal(t, cfg)
	defer closeJournal(t, j)
	j.syncMu.Lock() // a sync hangs
	write(t, j, "a")
	mu.Lock()
	now = now.Add(2 * time.Second)
	mu.Unlock()
	done := make(chan struct{})
	go func() { write(t, j, "b"); close(done) }()
	for j.Open() != 0 || j.Last() < 5 { // START, a, a, b, b
		if err := j.Wait(t.Context(), j.Last()); err != nil {
			t.Fatal(err)
		}
	}
	select {
	case <-done:
		t.Error("Settle returned though a record has been unsynced for 2 s")
	default:
	}
	j.syncMu.Unlock()
	<-done
}

func TestJournal_WaitEndsWithContext(t *testing.T) {
	t.Parallel()
	j := openJournal(t, testConfig(t.TempDir()))
	defer closeJournal(t, j)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := j.Wait(ctx, j.Last()); !errors.Is(err, context.Canceled) {
		t.Errorf("Wait = %v", err)
	}
}

func TestOpenJournal_Refuses(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	j := openJournal(t, testConfig(dir))
	closeJournal(t, j)
	b, err := os.ReadFile(j.current.path)
	if err != nil {
		t.Fatal(err)
	}
	at := len(b)
	b = beginFrame(b, 99, j.Last()+1)
	endFrame(b, at)
	if err := os.WriteFile(j.current.path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenJournal(testConfig(dir)); err == nil || !strings.Contains(err.Error(), "type 99") {
		t.Errorf("OpenJournal of a newer version's file = %v", err)
	}
	if _, err := OpenJournal(Config{Dir: dir, Mode: "sometimes"}); err == nil {
		t.Error("OpenJournal took an unknown mode")
	}
	if err := os.WriteFile(filepath.Join(dir, "00000000000000000999.seg"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
}

func FuzzReadFrame(f *testing.F) {
	frameOf := func(k kind, body []byte) []byte {
		b := append(beginFrame(nil, k, 9), body...)
		endFrame(b, 0)
		return b
	}
	f.Add(frameOf(kindReserve, putReservation(nil, reservation("a"))))
	f.Add(frameOf(kindSettle, putRecord(nil, record("a"))))
	f.Add(frameOf(kindCheck, putNumbers(nil, []uint64{1, 2, 3})))
	f.Fuzz(func(t *testing.T, b []byte) {
		if fr, err := readFrame(b); err == nil {
			b = fr.body
		}
		if r, err := decodeRecord(frame{kind: kindSettle, number: 1, body: b}); err == nil {
			again, err := decodeRecord(frame{kind: kindSettle, number: 1, body: putRecord(nil, &r)})
			if d := cmp.Diff(r, again); err == nil && d != "" && len(b) < maxString {
				t.Errorf("record changes when written again:\n%s", d)
			}
		}
		if r, err := decodeReservation(frame{kind: kindReserve, body: b}); err == nil && len(b) < maxString {
			again, err := decodeReservation(frame{kind: kindReserve, body: putReservation(nil, &r)})
			if d := cmp.Diff(r, again); err != nil || d != "" {
				t.Errorf("reservation changes when written again: %v\n%s", err, d)
			}
		}
		_, _ = decodeNumbers(b)
		_, _, _ = decodeAmendment(b)
		st := &replayed{open: map[uint64]*Reservation{}, amended: amendments{}}
		_, _, _ = scan(append(make([]byte, headerLen), b...), func(f frame, _ int64) error { return st.take(f) })
		_, _ = parseHeader("x", b)
	})
}

func BenchmarkJournal(b *testing.B) {
	for _, parallel := range []int{1, 64} {
		b.Run(fmt.Sprint("parallel=", parallel), func(b *testing.B) {
			j := openJournal(b, testConfig(b.TempDir()))
			defer closeJournal(b, j)
			var f Folds
			go func() {
				for range 1000 {
					if j.Wait(b.Context(), j.Last()+1000) != nil {
						return
					}
					j.TakeFolds(j.Synced(), &f)
				}
			}()
			at := resource.At(time.Now())
			b.SetParallelism(parallel)
			b.ReportAllocs()
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				r, s := reservation("01234567-89ab-cdef-0123-456789abcdef"), record("01234567-89ab-cdef-0123-456789abcdef")
				for pb.Next() {
					r.Time, s.Time = at, at
					n, err := j.Reserve(r)
					if err != nil {
						b.Error(err)
						return
					}
					if err := j.Settle(n, s); err != nil {
						b.Error(err)
						return
					}
				}
			})
		})
	}
}

// What a process that died was charged its hold for was not settled by anybody who knew what it used.
func TestJournal_Settled(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	open := func() *Journal {
		j, err := OpenJournal(Config{Dir: dir, NodeID: "n1"})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = j.Close() })
		return j
	}
	j := open()
	write(t, j, "b.usage")
	after := j.Last()
	for _, id := range []string{"b.usage-2", "other", "b.usage-3"} {
		write(t, j, id)
	}
	if _, err := j.Reserve(reservation("b.usage-4")); err != nil {
		t.Fatal(err)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	j = open()
	got, whole, err := j.Settled(after, "b.usage")
	if err != nil || !whole || len(got) != 2 || !got["b.usage-2"] || !got["b.usage-3"] {
		t.Errorf("got %v, %v, %v", got, whole, err)
	}
	if got, whole, err := j.Settled(j.Last(), "b.usage"); err != nil || !whole || len(got) != 0 {
		t.Errorf("behind the end: got %v, %v, %v", got, whole, err)
	}
}

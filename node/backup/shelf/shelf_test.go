package shelf_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/xml"
	"errors"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/conclave-llm/conclave/node/backup/shelf"
)

// keeper is a shelf.
type keeper interface {
	Put(ctx context.Context, name string, from *os.File, size int64) error
	List(ctx context.Context) ([]shelf.Item, error)
	Open(ctx context.Context, name string) (io.ReadCloser, error)
	Delete(ctx context.Context, name string) error
}

// store is an S3-like store of one bucket, which gives lists in pages of two names.
type store struct {
	mu      sync.Mutex // guards objects and status
	objects map[string]string
	status  int // that it answers instead; 0: none
}

func (s *store) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	body, _ := io.ReadAll(r.Body)
	sum := sha256.Sum256(body)
	if r.Header.Get("X-Amz-Content-Sha256") != hex.EncodeToString(sum[:]) {
		w.WriteHeader(http.StatusBadRequest)
		_, _ = io.WriteString(w, "<Error><Code>XAmzContentSHA256Mismatch</Code><Message>no</Message></Error>")
		return
	}
	if s.status != 0 {
		w.WriteHeader(s.status)
		_, _ = io.WriteString(w, "<Error><Code>AccessDenied</Code><Message>not you</Message></Error>")
		return
	}
	key := strings.TrimPrefix(strings.TrimPrefix(r.URL.Path, "/bucket"), "/")
	switch {
	case r.Method == http.MethodPut:
		s.objects[key] = string(body)
		w.Header().Set("ETag", `"1"`)
	case r.Method == http.MethodDelete:
		delete(s.objects, key)
		w.WriteHeader(http.StatusNoContent)
	case key == "":
		s.list(w, r)
	default:
		object, ok := s.objects[key]
		if !ok {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		_, _ = io.WriteString(w, object)
	}
}

func (s *store) list(w io.Writer, r *http.Request) {
	type content struct {
		Key  string
		Size int
	}
	var page struct {
		XMLName               xml.Name `xml:"ListBucketResult"`
		Contents              []content
		IsTruncated           bool
		NextContinuationToken string
	}
	for _, key := range slices.Sorted(maps.Keys(s.objects)) {
		if !strings.HasPrefix(key, r.URL.Query().Get("prefix")) || key <= r.URL.Query().Get("continuation-token") {
			continue
		}
		if len(page.Contents) == 2 {
			page.IsTruncated = true
			break
		}
		page.Contents = append(page.Contents, content{key, len(s.objects[key])})
		page.NextContinuationToken = key
	}
	_ = xml.NewEncoder(w).Encode(page)
}

func file(t *testing.T, text string) *os.File {
	t.Helper()
	path := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f
}

func TestShelves(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "kept")
	objects := &store{objects: map[string]string{"x/other.snap": "somebody else's", "x/conclave-": "", "x/y/" + shelf.Name("c1", time.Unix(1, 0), 0, 1): "deeper"}}
	srv := httptest.NewServer(objects)
	t.Cleanup(srv.Close)
	s3 := &shelf.S3{URL: srv.URL + "/bucket", Prefix: "x/", HTTP: srv.Client(), Sign: func(_ context.Context, r *http.Request, digest string) error {
		r.Header.Set("X-Amz-Content-Sha256", digest)
		return nil
	}}
	for name, k := range map[string]keeper{"folder": shelf.Folder(dir), "s3": s3} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			at := time.Date(2026, 11, 29, 10, 0, 0, 0, time.UTC)
			for i := range 3 {
				if err := k.Put(t.Context(), shelf.Name("c1", at.Add(time.Duration(i)*time.Hour), 2, uint64(i)), file(t, "body"), 4); err != nil {
					t.Fatal(err)
				}
			}
			all, err := k.List(t.Context())
			shelf.Sort(all)
			if err != nil || len(all) != 3 || all[0].Index != 2 || all[0].Generation != 2 || all[0].Size != 4 || all[0].ClusterID != "c1" || !all[0].TakenAt.Equal(at.Add(2*time.Hour)) {
				t.Fatalf("got %+v, %v", all, err)
			}
			r, err := k.Open(t.Context(), all[1].Name)
			if err != nil {
				t.Fatal(err)
			}
			if b, err := io.ReadAll(r); string(b) != "body" || err != nil {
				t.Errorf("got %q, %v", b, err)
			}
			_ = r.Close()
			if err := k.Delete(t.Context(), all[2].Name); err != nil {
				t.Error(err)
			}
			if all, err := k.List(t.Context()); err != nil || len(all) != 2 {
				t.Errorf("after one was deleted: got %+v, %v", all, err)
			}
			for _, bad := range []string{"", "../../node.key", "conclave-c1.snap", shelf.Name("c9", at, 0, 0)} {
				if _, err := k.Open(t.Context(), bad); !errors.Is(err, shelf.ErrNotFound) {
					t.Errorf("open %q: got %v", bad, err)
				}
			}
			if err := k.Delete(t.Context(), "../other.snap"); !errors.Is(err, shelf.ErrNotFound) {
				t.Errorf("delete of a file that is not ours: got %v", err)
			}
		})
	}
}

func TestS3_Refused(t *testing.T) {
	t.Parallel()
	srv := httptest.NewServer(&store{status: http.StatusForbidden})
	t.Cleanup(srv.Close)
	s3 := &shelf.S3{URL: srv.URL + "/bucket", HTTP: srv.Client(), Sign: func(_ context.Context, r *http.Request, digest string) error {
		r.Header.Set("X-Amz-Content-Sha256", digest)
		return nil
	}}
	err := s3.Put(t.Context(), shelf.Name("c1", time.Unix(1, 0), 0, 1), file(t, "body"), 4)
	if err == nil || !strings.Contains(err.Error(), "AccessDenied: not you") {
		t.Errorf("got %v, want what the store says", err)
	}
	if _, err := s3.List(t.Context()); err == nil || errors.Is(err, shelf.ErrNotFound) {
		t.Errorf("list: got %v", err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(shelf.Name("c1", time.Unix(1, 0), 3, 4))
	f.Fuzz(func(t *testing.T, s string) {
		if i, ok := shelf.Parse(s); ok && filepath.Base(s) != i.Name {
			t.Errorf("%q is taken for %+v", s, i)
		}
	})
}

// A console of a store, at another port, answers 200 to everything: nothing is kept there.
func TestS3_NoStore(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "<html><body>Console</body></html>")
	}))
	t.Cleanup(server.Close)
	s := &shelf.S3{URL: server.URL + "/bucket", HTTP: server.Client(), Sign: func(context.Context, *http.Request, string) error { return nil }}
	path := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(path, []byte("a backup"), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	if err := s.Put(t.Context(), shelf.Name("c", time.Unix(1, 0), 0, 1), f, 8); err == nil || !strings.Contains(err.Error(), "ETag") {
		t.Errorf("Put: got %v, want that it is no store", err)
	}
	if err := s.Try(t.Context(), 8); err == nil {
		t.Error("Try: got nil, want that it is no store")
	}
	if _, err := s.List(t.Context()); err == nil {
		t.Error("List: got nil, want that it is no store")
	}
}

package fsm_test

import (
	"strings"
	"testing"

	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/resource"
)

func fileOf(id string, expires resource.Time, digits ...string) resource.Artifact {
	f := resource.FileFacts{Purpose: "batch"}
	for _, d := range digits {
		f.Parts = append(f.Parts, resource.Part{Blob: strings.Repeat(d, 64), Bytes: 40})
		f.Bytes += 40
	}
	return resource.Artifact{ID: id, Kind: resource.ArtifactFile, Owners: resource.Owners{KeyID: "k1"}, ExpiresAt: expires, File: &f}
}

func TestArtifacts(t *testing.T) {
	t.Parallel()
	h := start(t)
	put := func(a resource.Artifact, read uint64, fresh ...string) fsm.PutArtifact {
		c := fsm.PutArtifact{Artifact: encoded(t, a), Read: read, Quota: 100}
		for _, d := range fresh {
			b := blobOf(d, 40)
			b.ExpiresAt, b.Refs = a.ExpiresAt, []string{a.Ref()}
			c.Blobs = append(c.Blobs, encoded(t, b))
		}
		return c
	}
	kept := func(digit string, want bool) {
		t.Helper()
		if _, got := h.f.Blob(strings.Repeat(digit, 64)); got != want {
			t.Errorf("blob %s is kept: %t, want %t", digit, got, want)
		}
	}
	late := resource.Time(1) << 62
	h.refused(master, put(fileOf("file-a", late, "a"), 0, "a"), resource.ErrForbidden)
	h.doAs(node("n1"), put(fileOf("file-a", late, "a", "b"), 0, "a", "b"))
	h.refused(node("n1"), put(fileOf("file-a", late, "a"), 0, "a"), resource.ErrExists)
	h.refused(node("n1"), put(fileOf("file-x", late, "c"), 0, "c"), resource.ErrFull)
	h.refused(node("n1"), put(fileOf("file-x", late, "c"), 0), resource.ErrNotFound) // of the blob
	h.refused(node("n1"), put(fileOf("file-x", late, "a"), 3), resource.ErrNotFound)
	if got := h.try(node("n1"), put(fileOf("file-x", late, "a"), 0, "b")); got.Err == nil {
		t.Error("a blob that is no part was taken")
	}

	_, version, ok := h.f.Artifact("file-a")
	if !ok {
		t.Fatal("file-a is not there")
	}
	h.refused(node("n1"), put(fileOf("file-a", late, "a"), version+1), resource.ErrConflict)
	stolen := fileOf("file-a", late, "a")
	stolen.Owners.KeyID = "k2"
	if got := h.try(node("n1"), put(stolen, version)); got.Err == nil {
		t.Error("the owner was changed")
	}
	h.doAs(node("n1"), put(fileOf("file-b", late, "b"), 0)) // takes a part that is there
	h.doAs(node("n1"), put(fileOf("file-a", late, "a"), version))
	kept("b", true)
	h.doAs(node("n1"), fsm.DeleteArtifacts{IDs: []string{"file-b", "file-none"}, Over: true})
	kept("b", true) // its time is not over
	h.doAs(node("n1"), fsm.DeleteArtifacts{IDs: []string{"file-b", "file-none"}})
	kept("b", false)
	kept("a", true)
	h.doAs(node("n1"), put(fileOf("file-c", day0-1, "c"), 0, "c")) // there is room again
	all, last := h.f.Artifacts("", 10, func(a *resource.Artifact) bool { return a.Owners.KeyID == "k1" })
	if len(all) != 2 || last != "" || all[1].ID != "file-c" {
		t.Errorf("got %+v, %q", all, last)
	}
	h.doAs(node("n1"), fsm.DeleteArtifacts{IDs: []string{"file-c"}, Over: true})
	kept("c", false)
}

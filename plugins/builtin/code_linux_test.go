package builtin

import (
	"bytes"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestCodeMappings(t *testing.T) {
	t.Parallel()
	const text = `00400000-0161c000 r-xp 00000000 fe:00 10002601                           /opt/conclave
Size:              18544 kB
Rss:               16040 kB
Anonymous:             0 kB
VmFlags: rd ex mr mw me
`
	for _, tt := range []struct {
		name  string
		smaps string
		want  []mapping
	}{
		{"code", text, []mapping{{0x400000, 0x161c000}}},
		{"constants after code", text + "0161c000-0290d000 r--p 0121c000 fe:00 10002601   /opt/a folder/conclave\nAnonymous: 0 kB\n", []mapping{{0x400000, 0x161c000}, {0x161c000, 0x290d000}}},
		{"data", "0290d000-02a35000 rw-p 0250d000 fe:00 10002601 /opt/conclave\nAnonymous: 0 kB\n", nil},
		{"written by the linker, then made read-only", "0290d000-02a35000 r--p 0250d000 fe:00 10002601 /opt/conclave\nAnonymous: 4 kB\n", nil},
		{"no file", "7ffd51af1000-7ffd51af3000 r-xp 00000000 00:00 0 [vdso]\nAnonymous: 0 kB\n", nil},
		{"not readable", "2b0130000000-2b0133c00000 ---p 00000000 00:00 0 \nAnonymous: 0 kB\n", nil},
		{"shared", "7f0000000000-7f0000001000 r--s 00000000 fe:00 77 /var/x\nAnonymous: 0 kB\n", nil},
		{"cut off", "00400000-0161c000 r-xp 00000000 fe:00 1 /opt/conclave\nSize: 1 kB\n", nil},
		{"empty", "", nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if got := codeMappings([]byte(tt.smaps)); !cmp.Equal(got, tt.want, cmp.AllowUnexported(mapping{})) {
				t.Errorf("codeMappings = %x, want %x", got, tt.want)
			}
		})
	}
}

// TestDropCode drops the pages of this test while other goroutines run in them.
func TestDropCode(t *testing.T) {
	t.Parallel()
	smaps, err := os.ReadFile("/proc/self/smaps")
	if err != nil {
		t.Fatal(err)
	}
	if len(codeMappings(smaps)) == 0 {
		t.Fatalf("this process has no code that can be dropped:\n%s", smaps)
	}
	for range 20 {
		if err := dropCode(); err != nil {
			t.Fatal(err)
		}
	}
}

func FuzzCodeMappings(f *testing.F) {
	f.Add([]byte("00400000-0161c000 r-xp 00000000 fe:00 10002601 /opt/conclave\nAnonymous: 0 kB\n"))
	f.Add([]byte("1-2 r 0 0 5\nAnonymous: 0 kB\n"))
	f.Fuzz(func(t *testing.T, smaps []byte) {
		if got, most := len(codeMappings(smaps)), bytes.Count(smaps, []byte("Anonymous:")); got > most {
			t.Errorf("%d mappings, want at most %d", got, most)
		}
	})
}

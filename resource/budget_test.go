package resource_test

import (
	"testing"
	"time"

	"github.com/conclave-llm/conclave/resource"
)

func TestTerms_Window(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name       string
		per        resource.Per
		zone       string
		at         string
		start, end string // "": never
	}{
		{"hour", resource.PerHour, "", "2026-03-01T10:59:59Z", "2026-03-01T10:00:00Z", "2026-03-01T11:00:00Z"},
		{"hour in a zone of half hours", resource.PerHour, "Asia/Kolkata", "2026-03-01T10:40:00Z", "2026-03-01T10:00:00Z", "2026-03-01T11:00:00Z"},
		{"day", resource.PerDay, "", "2026-03-01T00:00:00Z", "2026-03-01T00:00:00Z", "2026-03-02T00:00:00Z"},
		{"day of 23 hours", resource.PerDay, "Europe/Berlin", "2026-03-29T12:00:00Z", "2026-03-28T23:00:00Z", "2026-03-29T22:00:00Z"},
		{"day of 25 hours", resource.PerDay, "Europe/Berlin", "2026-10-25T12:00:00Z", "2026-10-24T22:00:00Z", "2026-10-25T23:00:00Z"},
		{"day across the date line", resource.PerDay, "Pacific/Auckland", "2026-01-15T12:00:00Z", "2026-01-15T11:00:00Z", "2026-01-16T11:00:00Z"},
		{"day without a midnight", resource.PerDay, "America/Santiago", "2026-09-06T12:00:00Z", "2026-09-06T04:00:00Z", "2026-09-07T03:00:00Z"},
		{"day with two midnights", resource.PerDay, "America/Havana", "2026-11-01T12:00:00Z", "2026-11-01T04:00:00Z", "2026-11-02T05:00:00Z"},
		{"week on a Monday", resource.PerWeek, "", "2026-11-23T00:00:00Z", "2026-11-23T00:00:00Z", "2026-11-30T00:00:00Z"},
		{"week on a Sunday", resource.PerWeek, "", "2026-11-29T23:59:59Z", "2026-11-23T00:00:00Z", "2026-11-30T00:00:00Z"},
		{"month", resource.PerMonth, "", "2026-02-28T23:59:59Z", "2026-02-01T00:00:00Z", "2026-03-01T00:00:00Z"},
		{"month at the year's end", resource.PerMonth, "America/New_York", "2027-01-01T04:59:59Z", "2026-12-01T05:00:00Z", "2027-01-01T05:00:00Z"},
		{"total", resource.PerTotal, "", "2026-02-28T23:59:59Z", "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			terms := resource.Terms{Per: tt.per, Zone: tt.zone}
			at := parse(t, tt.at)
			got, err := terms.Window(at)
			want := resource.Window{Start: resource.At(parse(t, tt.start)), End: resource.At(parse(t, tt.end))}
			if err != nil || got != want {
				t.Fatalf("Window(%s) = %s to %s, %v, want %s to %s", tt.at, got.Start.Std(), got.End.Std(), err, want.Start.Std(), want.End.Std())
			}
			if !got.Contains(resource.At(at)) {
				t.Error("the window does not contain its own time")
			}
			if got.End != 0 {
				next, err := terms.Window(got.End.Std())
				if err != nil || next.Start != got.End {
					t.Errorf("the next window starts at %s, want %s: no gap and no overlap", next.Start.Std(), got.End.Std())
				}
			}
		})
	}
}

func parse(t *testing.T, s string) time.Time {
	t.Helper()
	if s == "" {
		return time.Time{}
	}
	at, err := time.Parse(time.RFC3339, s)
	if err != nil {
		t.Fatal(err)
	}
	return at
}

// TestTerms_WindowsFollowEachOther walks through a year of each period in zones with odd
// clock changes: every moment is in exactly one window.
func TestTerms_WindowsFollowEachOther(t *testing.T) {
	t.Parallel()
	for _, zone := range []string{"UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "America/Santiago", "America/Havana", "Africa/Cairo", "Asia/Beirut"} {
		for _, per := range []resource.Per{resource.PerHour, resource.PerDay, resource.PerWeek, resource.PerMonth} {
			terms := resource.Terms{Per: per, Zone: zone}
			at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
			w, err := terms.Window(at)
			if err != nil {
				t.Fatal(err)
			}
			for w.End.Std().Year() < 2027 {
				next, err := terms.Window(w.End.Std())
				if err != nil || next.Start != w.End || next.End <= next.Start {
					t.Fatalf("%s in %s: after %s comes %s to %s, %v", per, zone, w.End.Std(), next.Start.Std(), next.End.Std(), err)
				}
				last, err := terms.Window(w.End.Std().Add(-1))
				if err != nil || last != w {
					t.Fatalf("%s in %s: the last moment before %s is in %s to %s", per, zone, w.End.Std(), last.Start.Std(), last.End.Std())
				}
				w = next
			}
		}
	}
}

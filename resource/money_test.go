package resource_test

import (
	"encoding/json"
	"math/big"
	"strings"
	"testing"

	"github.com/conclave-llm/conclave/resource"
)

func TestParseMoney(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, in string
		want     resource.Money
		text     string // as String gives it; "": an error
	}{
		{"whole", "100", 100 * resource.Dollar, "100"},
		{"decimal", "0.15", 150_000_000, "0.15"},
		{"one nanodollar", "0.000000001", 1, "0.000000001"},
		{"exponent", "1.5e-6", 1_500, "0.0000015"},
		{"negative", "-0.5", -500_000_000, "-0.5"},
		{"zero", "0", 0, "0"},
		{"largest", "1000000000", resource.MaxMoney, "1000000000"},
		{"beyond the largest", "1000000000.000000001", 0, ""},
		{"more than nine decimals", "0.0000000001", 0, ""},
		{"huge exponent", "1e999999999", 0, ""},
		{"not a number", "NaN", 0, ""},
		{"a fraction", "1/3", 0, ""},
		{"hexadecimal", "0x10", 0, ""},
		{"underscore", "1_000", 0, ""},
		{"empty", "", 0, ""},
		{"long", "0." + string(make([]byte, 100)), 0, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := resource.ParseMoney(tt.in)
			if (err == nil) != (tt.text != "") || got != tt.want {
				t.Fatalf("ParseMoney(%q) = %d, %v, want %d", tt.in, got, err, tt.want)
			}
			if err == nil && got.String() != tt.text {
				t.Errorf("String() = %q, want %q", got.String(), tt.text)
			}
		})
	}
}

func TestRoundMoney(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, in string
		want     resource.Money // -1: an error
	}{
		{"exact", "0.15", 150_000_000},
		{"digits of a bill", "0.8958740000000000", 895_874_000},
		{"rounded down", "0.00000000149999999999999999999999999999999999", 1},
		{"half", "0.0000000015", 2},
		{"half of a credit", "-0.0000000015", -2},
		{"a credit", "-12.5", -12_500_000_000},
		{"next to nothing", "4e-10", 0},
		{"zero with an exponent", "0E-34", 0},
		{"largest", "1000000000.0000000004", resource.MaxMoney},
		{"beyond the largest", "1000000000.000000001", -1},
		{"huge exponent", "1e999999999", -1},
		{"not a number", "NaN", -1},
		{"a fraction", "1/3", -1},
		{"empty", "", -1},
		{"long", "0." + strings.Repeat("1", 100), -1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, err := resource.RoundMoney(tt.in)
			if (err != nil) != (tt.want == -1) || err == nil && got != tt.want {
				t.Errorf("RoundMoney(%q) = %d, %v, want %d", tt.in, got, err, tt.want)
			}
		})
	}
}

// FuzzParseMoney checks that what is read is exact and that it is read back the same.
func FuzzParseMoney(f *testing.F) {
	for _, s := range []string{"0.15", "1e3", "-7.000000001", "1e-9", "9e8"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, in string) {
		m, err := resource.ParseMoney(in)
		if rounded, failed := resource.RoundMoney(in); err == nil && (failed != nil || rounded != m) {
			t.Fatalf("RoundMoney(%q) = %d, %v, ParseMoney %d", in, rounded, failed, m)
		}
		if err != nil {
			return
		}
		exact, ok := new(big.Rat).SetString(in)
		if !ok || exact.Cmp(big.NewRat(int64(m), int64(resource.Dollar))) != 0 {
			t.Fatalf("ParseMoney(%q) = %d nanodollars, which is another amount", in, m)
		}
		b, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		var back resource.Money
		if err := json.Unmarshal(b, &back); err != nil || back != m {
			t.Fatalf("%d is written as %s and read as %d, %v", m, b, back, err)
		}
	})
}

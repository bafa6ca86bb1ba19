package resource

import (
	"fmt"
	"math/big"
	"strconv"
	"strings"
)

// Money is an amount of US dollars in nanodollars (1e-9 $). It is a number in CBOR, and in
// JSON an exact decimal number of dollars, so 0.15 in the admin API is 150,000,000 here.
type Money int64

// Dollar is one US dollar.
const Dollar Money = 1_000_000_000

// MaxMoney is the largest amount a record may hold (1e9 $), which leaves sums room.
const MaxMoney = 1_000_000_000 * Dollar

// ParseMoney reads a decimal number of dollars, with an optional exponent, exactly.
// It returns an error for more than nine decimals, or beyond MaxMoney.
func ParseMoney(s string) (Money, error) {
	r, err := parseDecimal(s)
	if err != nil {
		return 0, err
	}
	r.Mul(r, big.NewRat(int64(Dollar), 1))
	if !r.IsInt() {
		return 0, fmt.Errorf("amount %q has more than nine decimals", s)
	}
	return bounded(r.Num(), s)
}

// RoundMoney is ParseMoney of an amount that may have any number of decimals, as those of bills do. It is
// rounded to the nearest nanodollar, halves away from zero.
func RoundMoney(s string) (Money, error) {
	r, err := parseDecimalWithin(s, 100, 100)
	if err != nil {
		return 0, err
	}
	r.Mul(r, big.NewRat(int64(Dollar), 1))
	half := new(big.Int).Set(r.Denom())
	if r.Sign() < 0 {
		half.Neg(half)
	}
	n := new(big.Int).Lsh(r.Num(), 1)
	return bounded(n.Quo(n.Add(n, half), new(big.Int).Lsh(r.Denom(), 1)), s)
}

// bounded is n nanodollars, which s said, unless they are beyond MaxMoney.
func bounded(n *big.Int, s string) (Money, error) {
	if n.IsInt64() && n.Int64() <= int64(MaxMoney) && n.Int64() >= -int64(MaxMoney) {
		return Money(n.Int64()), nil
	}
	return 0, fmt.Errorf("amount %q is beyond a thousand million dollars", s)
}

// parseDecimal reads a decimal number with an optional exponent.
func parseDecimal(s string) (*big.Rat, error) { return parseDecimalWithin(s, 40, 20) }

// parseDecimalWithin is parseDecimal of at most so many characters, with an exponent of at most most.
func parseDecimalWithin(s string, long, most int) (*big.Rat, error) {
	if len(s) > long {
		return nil, fmt.Errorf("amount of %d characters is too long", len(s))
	}
	if i := strings.IndexAny(s, "eE"); i >= 0 {
		if e, err := strconv.Atoi(s[i+1:]); err != nil || e > most || e < -most {
			return nil, fmt.Errorf("amount %q is not a decimal number", s)
		}
	}
	if strings.ContainsAny(s, "/_xXpP") {
		return nil, fmt.Errorf("amount %q is not a decimal number", s)
	}
	r, ok := new(big.Rat).SetString(s)
	if !ok {
		return nil, fmt.Errorf("amount %q is not a decimal number", s)
	}
	return r, nil
}

// String gives the amount in dollars without trailing zeros: "0.15".
func (m Money) String() string {
	neg := ""
	u := uint64(m)
	if m < 0 {
		neg, u = "-", -u
	}
	whole, frac := u/uint64(Dollar), u%uint64(Dollar)
	if frac == 0 {
		return neg + strconv.FormatUint(whole, 10)
	}
	return neg + strconv.FormatUint(whole, 10) + "." + strings.TrimRight(fmt.Sprintf("%09d", frac), "0")
}

// MarshalJSON writes a decimal number of dollars.
func (m Money) MarshalJSON() ([]byte, error) { return []byte(m.String()), nil }

// UnmarshalJSON reads a decimal number of dollars, exactly, or null.
func (m *Money) UnmarshalJSON(b []byte) error {
	if string(b) == "null" {
		*m = 0
		return nil
	}
	v, err := ParseMoney(string(b))
	if err != nil {
		return err
	}
	*m = v
	return nil
}

// Package money is the arithmetic of budgets: the account of one window and what each epoch
// of each node holds of it, how much is granted, and the totals. It is pure: rows in, rows
// out, without a file or a clock. DESIGN.md of fsm has the rules and the layouts.
package money

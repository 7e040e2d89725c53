package demo

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"
)

// trafficMax is the highest rate that Traffic takes, in actions per second.
const trafficMax = 1000

// Traffic plays the desk by itself: people do plausible things at random, about
// perSecond of them a second, one at a time, until ctx ends; then it returns
// nil. Only Cleo gets locked out, so that others can be played by hand
// meanwhile. A failing database makes it pause, not end; the only error is a rate
// outside 0 to 1000.
func (d *Demo) Traffic(ctx context.Context, perSecond float64) error {
	if !(perSecond > 0 && perSecond <= trafficMax) {
		return fmt.Errorf("traffic of %v actions per second: must be above 0 and at most %d", perSecond, trafficMax)
	}
	const retryIn = 2 * time.Second
	wait := time.NewTimer(0)
	defer wait.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-wait.C:
		}
		// Exponential, as the arrivals of people who don't know of each other.
		pause := time.Duration(rand.ExpFloat64() / perSecond * float64(time.Second))
		var refused *Problem
		if err := d.somethingHappens(ctx); err != nil && ctx.Err() == nil && !errors.As(err, &refused) {
			d.log.Warn("demo traffic pauses", "err", err, "retry_in", retryIn)
			pause = retryIn
		}
		wait.Reset(pause)
	}
}

// somethingHappens takes one step. A Problem is fine: people try what they may not.
func (d *Demo) somethingHappens(ctx context.Context) error {
	// So many wait for review at most: Rita sees a queue, not a flood.
	const waitingMax = 6
	var waiting, approved []int64
	const deskSQL = `
		SELECT array(SELECT id FROM demo_item WHERE status = 'submitted' ORDER BY id LIMIT 20),
		       array(SELECT id FROM demo_item WHERE status = 'approved' ORDER BY id LIMIT 20)`
	if err := d.pool.QueryRow(ctx, deskSQL).Scan(&waiting, &approved); err != nil {
		return fmt.Errorf("look at the desk: %w", err)
	}
	var err error
	switch dice := rand.IntN(100); {
	case dice < 6:
		err = d.someoneSignsInOrOut(ctx)
	case dice < 9:
		err = d.cleoForgets(ctx)
	case dice < 10:
		err = d.someoneTidies(ctx)
	case dice < 40 && len(approved) > 0:
		_, err = d.Execute(ctx, "tom", pick(approved))
	case dice < 70 && len(waiting) > 0, len(waiting) >= waitingMax:
		if rand.IntN(4) == 0 {
			_, err = d.Reject(ctx, "rita", pick(waiting), pick(rejections))
		} else {
			_, err = d.Approve(ctx, "rita", pick(waiting), pick(approvals))
		}
	default:
		wish, quantity := pick(wishes), 1+rand.IntN(60)
		_, err = d.Submit(ctx, pick(submitters), Submission{Title: wish.title, Symbol: wish.symbol, Quantity: &quantity})
	}
	return err
}

func (d *Demo) someoneSignsInOrOut(ctx context.Context) error {
	var name, pin string
	var signedIn bool
	const someoneSQL = `SELECT name, pin, signed_in_at IS NOT NULL FROM demo_person ORDER BY random() LIMIT 1`
	if err := d.pool.QueryRow(ctx, someoneSQL).Scan(&name, &pin, &signedIn); err != nil {
		return fmt.Errorf("pick a person: %w", err)
	}
	var err error
	if signedIn {
		_, err = d.LogOut(ctx, name)
	} else {
		_, err = d.LogIn(ctx, name, pin)
	}
	return err
}

// cleoForgets has Cleo try another wrong PIN, or Rita help her out.
func (d *Demo) cleoForgets(ctx context.Context) error {
	var refused *Problem
	if _, err := d.Unlock(ctx, "rita", "cleo"); err == nil || !errors.As(err, &refused) {
		return err
	}
	_, err := d.LogIn(ctx, "cleo", "0000")
	return err
}

// someoneTidies forgets what was settled over a day ago, so that a demo left
// alone for a week does not fill the disk.
func (d *Demo) someoneTidies(ctx context.Context) error {
	const tidySQL = `
		DELETE FROM demo_item WHERE id IN (
			SELECT id FROM demo_item
			WHERE status IN ('traded', 'rejected') AND reviewed_at < now() - interval '1 day'
			ORDER BY reviewed_at LIMIT 1000)`
	if _, err := d.pool.Exec(ctx, tidySQL); err != nil {
		return fmt.Errorf("forget old items: %w", err)
	}
	return nil
}

func pick[T any](from []T) T { return from[rand.IntN(len(from))] }

var (
	submitters = []string{"ada", "ada", "bo", "bo", "cleo"}
	wishes     = []struct{ title, symbol string }{
		{"Winter blend", "COFFEE"}, {"Espresso for the corner bar", "COFFEE"}, {"Single origin, washed", "COFFEE"},
		{"Dark 72 % couverture", "COCOA"}, {"Nibs for the granola people", "COCOA"}, {"Truffle season", "COCOA"},
		{"Black pepper, whole", "PEPPER"}, {"Red pepper for the tasting menu", "PEPPER"},
		{"Pods for the pastry school", "VANILLA"}, {"Extract, second pressing", "VANILLA"},
	}
	approvals  = []string{"", "", "Good price, go.", "Within budget.", "As agreed on Monday."}
	rejections = []string{"We still have plenty.", "Too much for one week.", "Ask again after the harvest.", ""}
)

// An operator on controller-runtime, tuned as its users tune it: no rate limit of the client, ten workers, no field
// managers in its caches. It brings Models from creation to Ready with the same claim, Job, Events and changes of status as
// ours, and does nothing else: no queue, no checks, no progress, no gated pods, no look at the API server before it acts.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"strings"
	"sync"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	clientscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"
	"sigs.k8s.io/controller-runtime/pkg/metrics/server"
)

const owner = "peer"

// What to make for a Model: JSON in which the Model's name is `placeholder`.
type templates struct {
	Placeholder string   `json:"placeholder"`
	Claim       template `json:"claim"`
	Job         template `json:"job"`
}

type template struct {
	name string
	text []byte
}

func (t *template) UnmarshalJSON(text []byte) error {
	var object metav1.PartialObjectMetadata
	if err := json.Unmarshal(text, &object); err != nil {
		return err
	}
	t.name, t.text = object.Name, bytes.Clone(text)
	return nil
}

type reconciler struct {
	client.Client
	events    events.EventRecorder
	templates templates
	// The phase that was written last, by UID of the Model: the cache may lag behind.
	written sync.Map
}

// Reconcile is one pass over one Model.
func (r *reconciler) Reconcile(ctx context.Context, request ctrl.Request) (ctrl.Result, error) {
	model := &Model{}
	if err := r.Get(ctx, request.NamespacedName, model); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if !model.DeletionTimestamp.IsZero() {
		return ctrl.Result{}, nil
	}
	claim, job := &corev1.PersistentVolumeClaim{}, &batchv1.Job{}
	if err := r.ensure(ctx, model, r.templates.Claim, claim); err != nil {
		return ctrl.Result{}, fmt.Errorf("claim: %w", err)
	}
	if err := r.ensure(ctx, model, r.templates.Job, job); err != nil {
		return ctrl.Result{}, fmt.Errorf("job: %w", err)
	}
	phase, reason := "Downloading", "DownloadStarted"
	for _, condition := range job.Status.Conditions {
		if condition.Type == batchv1.JobComplete && condition.Status == corev1.ConditionTrue {
			phase, reason = "Ready", "DownloadSucceeded"
		}
	}
	if written, _ := r.written.Load(model.UID); model.Status.Phase == phase || written == phase {
		return ctrl.Result{}, nil
	}
	r.events.Eventf(model, nil, corev1.EventTypeNormal, reason, phase, "the files of %s: %s", model.Spec.Source.HuggingFace.RepoID, phase)
	if err := r.record(ctx, model, claim.Name, phase, reason); err != nil {
		return ctrl.Result{}, fmt.Errorf("status: %w", err)
	}
	r.written.Store(model.UID, phase)
	return ctrl.Result{}, nil
}

// ensure reads a child from the cache, or creates it.
func (r *reconciler) ensure(ctx context.Context, model *Model, template template, child client.Object) error {
	name := strings.ReplaceAll(template.name, r.templates.Placeholder, model.Name)
	key := types.NamespacedName{Namespace: model.Namespace, Name: name}
	if err := r.Get(ctx, key, child); !apierrors.IsNotFound(err) {
		return err
	}
	text := bytes.ReplaceAll(template.text, []byte(r.templates.Placeholder), []byte(model.Name))
	if err := json.Unmarshal(text, child); err != nil {
		return err
	}
	child.SetNamespace(model.Namespace)
	child.SetOwnerReferences(nil)
	if err := controllerutil.SetControllerReference(model, child, r.Scheme()); err != nil {
		return err
	}
	if err := r.Create(ctx, child); !apierrors.IsAlreadyExists(err) {
		return err
	}
	return nil
}

func (r *reconciler) record(ctx context.Context, model *Model, claim, phase, reason string) error {
	isReady := metav1.ConditionFalse
	if phase == "Ready" {
		isReady = metav1.ConditionTrue
	}
	now := metav1.Now().UTC().Format("2006-01-02T15:04:05Z")
	return r.Status().Apply(ctx, client.ApplyConfigurationFromUnstructured(&unstructured.Unstructured{Object: map[string]any{
		"apiVersion": group.String(),
		"kind":       "Model",
		"metadata":   map[string]any{"name": model.Name, "namespace": model.Namespace},
		"status": map[string]any{
			"phase":              phase,
			"pvcName":            claim,
			"observedGeneration": model.Generation,
			"message":            "the files of " + model.Spec.Source.HuggingFace.RepoID,
			"conditions": []any{map[string]any{
				"type": "Ready", "status": string(isReady), "reason": reason, "message": phase,
				"lastTransitionTime": now, "observedGeneration": model.Generation,
			}},
		},
	}}), client.ForceOwnership, client.FieldOwner(owner))
}

func run() error {
	// Not the flags of the process: controller-runtime has a --kubeconfig there.
	flags := flag.NewFlagSet(owner, flag.ExitOnError)
	kubeconfig := flags.String("kubeconfig", "", "kubeconfig of the API server")
	children := flags.String("children", "", "file with the templates of claim and Job")
	health := flags.Int("health-port", 8081, "port of /readyz")
	metrics := flags.Int("metrics-port", 8080, "port of /metrics")
	if err := flags.Parse(os.Args[1:]); err != nil {
		return err
	}
	ctrl.SetLogger(zap.New())
	text, err := os.ReadFile(*children)
	if err != nil {
		return err
	}
	reconciler := &reconciler{}
	if err := json.Unmarshal(text, &reconciler.templates); err != nil {
		return err
	}
	config, err := clientcmd.BuildConfigFromFlags("", *kubeconfig)
	if err != nil {
		return err
	}
	config.QPS = -1
	scheme := runtime.NewScheme()
	if err := clientscheme.AddToScheme(scheme); err != nil {
		return err
	}
	if err := addToScheme(scheme); err != nil {
		return err
	}
	manager, err := ctrl.NewManager(config, ctrl.Options{
		Scheme:                 scheme,
		Cache:                  cache.Options{DefaultTransform: cache.TransformStripManagedFields()},
		Metrics:                server.Options{BindAddress: fmt.Sprintf("127.0.0.1:%d", *metrics)},
		HealthProbeBindAddress: fmt.Sprintf("127.0.0.1:%d", *health),
	})
	if err != nil {
		return err
	}
	reconciler.Client, reconciler.events = manager.GetClient(), manager.GetEventRecorder(owner)
	if err := manager.AddReadyzCheck("ready", healthz.Ping); err != nil {
		return err
	}
	err = ctrl.NewControllerManagedBy(manager).
		For(&Model{}).
		Owns(&corev1.PersistentVolumeClaim{}).
		Owns(&batchv1.Job{}).
		WithOptions(controller.Options{MaxConcurrentReconciles: 10}).
		Complete(reconciler)
	if err != nil {
		return err
	}
	return manager.Start(ctrl.SetupSignalHandler())
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

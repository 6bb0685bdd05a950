package main

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

var group = schema.GroupVersion{Group: "models.main-currents.news", Version: "v1alpha1"}

// Model holds the fields of a Model that the bench sets and this operator reads.
type Model struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec struct {
		Source struct {
			HuggingFace struct {
				RepoID string `json:"repoId"`
			} `json:"huggingFace"`
		} `json:"source"`
		Storage struct {
			Size string `json:"size"`
		} `json:"storage"`
	} `json:"spec"`
	Status struct {
		Phase              string             `json:"phase,omitempty"`
		Message            string             `json:"message,omitempty"`
		ClaimName          string             `json:"pvcName,omitempty"`
		ObservedGeneration int64              `json:"observedGeneration,omitempty"`
		Conditions         []metav1.Condition `json:"conditions,omitempty"`
	} `json:"status,omitempty"`
}

// ModelList is a list of Models.
type ModelList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Model `json:"items"`
}

// DeepCopyObject copies what a cache holds.
func (model *Model) DeepCopyObject() runtime.Object {
	return model.deepCopy()
}

func (model *Model) deepCopy() *Model {
	copied := *model
	copied.ObjectMeta = *model.ObjectMeta.DeepCopy()
	copied.Status.Conditions = append([]metav1.Condition(nil), model.Status.Conditions...)
	return &copied
}

// DeepCopyObject copies what a cache holds.
func (list *ModelList) DeepCopyObject() runtime.Object {
	copied := *list
	copied.ListMeta = *list.ListMeta.DeepCopy()
	copied.Items = make([]Model, len(list.Items))
	for i := range list.Items {
		copied.Items[i] = *list.Items[i].deepCopy()
	}
	return &copied
}

func addToScheme(scheme *runtime.Scheme) error {
	scheme.AddKnownTypes(group, &Model{}, &ModelList{})
	metav1.AddToGroupVersion(scheme, group)
	return nil
}

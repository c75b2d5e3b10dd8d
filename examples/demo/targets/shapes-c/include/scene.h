#ifndef SCENE_H
#define SCENE_H

#include "shape.h"

#define SCENE_MAX 32

typedef struct {
    size_t count;
    shape2_t shapes[SCENE_MAX];
} scene_t;

void scene_init(scene_t *scene);
/* 0, or -1 when the scene is full. */
int scene_add(scene_t *scene, const shape2_t *shape);
double scene_area(const scene_t *scene);
/* The shape with the largest area; NULL for an empty scene. */
const shape2_t *scene_largest(const scene_t *scene);

#endif

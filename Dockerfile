# An image for a JupyterHub, for a grader, or for one person; notebooks/running.md tells how to use it.
FROM python:3.13-slim-bookworm
# Where pip also looks, for the small CPU build of PyTorch; empty: PyTorch with CUDA.
ARG PIP_EXTRA_INDEX_URL=""
# Its first number must be that of the hub.
ARG HUB="jupyterhub==5.*"

# bubblewrap: the grader runs student code in it.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends bubblewrap=0.8.* \
    && rm -rf /var/lib/apt/lists/*

COPY . /opt/ddpm-lesson
WORKDIR /opt/ddpm-lesson
RUN pip install --no-cache-dir --constraint constraints.txt ".[lab,homework]" "$HUB" \
    && useradd --create-home --uid 1000 student
USER 1000
# A hub that mounts a volume over the home folder hides these copies: hand them out by nbgitpuller instead.
RUN cp -r notebooks/student /home/student/lessons
WORKDIR /home/student
EXPOSE 8888
CMD ["jupyter", "lab", "--ip=0.0.0.0", "--no-browser", "--LabApp.default_url=/lab/tree/lessons/00_start_here.ipynb"]

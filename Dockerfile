# gst-plugin-face on Debian 12. Written with care and not built where the project is tested: docs/install.md.
#   docker build -t gst-face .
#   docker run --rm -v "$PWD:/data" gst-face analyze --gallery /data/people.gallery /data/clip.mp4

FROM rust:1.95-bookworm AS build
RUN apt-get update && apt-get install -y --no-install-recommends \
      dpkg-dev meson ninja-build pkg-config python3 python3-pip unzip \
      libgstreamer1.0-dev libgstreamer-plugins-base1.0-dev libgstrtspserver-1.0-dev libcairo2-dev libpango1.0-dev \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
RUN scripts/package.sh --output /out && scripts/setup.sh --runtime

FROM debian:bookworm-slim
COPY --from=build /out/*.deb /tmp/
RUN apt-get update \
    && apt-get install -y --no-install-recommends /tmp/*.deb ca-certificates \
      gstreamer1.0-tools gstreamer1.0-plugins-good gstreamer1.0-plugins-bad gstreamer1.0-plugins-ugly gstreamer1.0-libav \
      gstreamer1.0-rtsp fonts-noto-core \
    && rm -rf /var/lib/apt/lists/* /tmp/*.deb \
    && useradd --create-home face
COPY --from=build /root/.local/share/gst-face/onnxruntime /opt/onnxruntime
ENV GST_FACE_ORT_PATH=/opt/onnxruntime
USER face
WORKDIR /data
# The models are not in the image: their licences are for you to accept.
#   docker run --rm -v face-models:/home/face/.local/share/gst-face gst-face models fetch --default
ENTRYPOINT ["facectl"]
CMD ["--help"]

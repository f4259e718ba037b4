ip -6 addr add 2001:db8:1::11/128 dev eth0 nodad
ipvsadm -A -t 192.0.2.10:80 -s nq -p 60 -M 255.255.0.0
ipvsadm -a -t 192.0.2.10:80 -r 198.51.100.13:80 -i -w 2 --tun-type gre --tun-csum
ipvsadm -a -t 192.0.2.10:80 -r 198.51.100.12:80 -i -w 10 --tun-type gue --tun-port 6080 --tun-csum
ipvsadm -a -t 192.0.2.10:80 -r 198.51.100.14:8080 -i -w 2 --tun-type gre --tun-csum
ipvsadm -A -u 192.0.2.12:53 -s wrr -p 360 -M 255.255.255.255 -o
ipvsadm -a -u 192.0.2.12:53 -r 198.51.100.11:53 -g -w 2
ipvsadm -a -u 192.0.2.12:53 -r 198.51.100.16:53 -g -w 4 -x 3 -y 0
ipvsadm -A --sctp-service 192.0.2.12:0 -s ovf -p 600 -M 255.255.0.0
ipvsadm -a --sctp-service 192.0.2.12:0 -r 198.51.100.16:0 -i -w 100 --tun-type gre --tun-csum
ipvsadm -a --sctp-service 192.0.2.12:0 -r 198.51.100.12:0 -i -w 1 --tun-type gue --tun-port 6080 --tun-remcsum -x 4 -y 0
ipvsadm -A -t 192.0.2.11:443 -s wrr
ipvsadm -a -t 192.0.2.11:443 -r 198.51.100.17:0 -m -w 1
ipvsadm -a -t 192.0.2.11:443 -r 198.51.100.18:0 -m -w 2
ipvsadm -a -t 192.0.2.11:443 -r 198.51.100.16:0 -m -w 100
ip neigh del 198.51.100.11 dev eth1
ip neigh del 2001:db8:2::11 dev eth1
